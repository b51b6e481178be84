"""HDF5, tar, compressed files, JSON and text."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import Any

import pytest

from muniment.checksum_validator.formats import Limits

from .builders import blocked, codes, look

_HDF5 = b"\x89HDF\r\n\x1a\n"


def test_hdf5_and_what_keras_leaves_in_it() -> None:
    plain = look(_HDF5 + b"\x02" + bytes(200), "m.h5", "hdf5")
    assert plain.format == "hdf5"
    assert plain.findings == ()
    assert plain.facts == {"superblock_version": 2, "keras": False}
    keras = look(_HDF5 + bytes(100) + b'keras_version model_config {"class_name": "Dense"}', declared="keras")
    assert keras.ok
    assert keras.facts["keras"] is True


@pytest.mark.parametrize("place", [100, 70_000, 900_000])
def test_a_lambda_layer_in_hdf5(place: int) -> None:
    seen = look(_HDF5 + bytes(place) + b'model_config {"class_name": "Lambda"}' + bytes(200_000))
    assert seen.executable
    assert blocked(seen) == ["keras_code"]


def test_a_keras_model_too_large_to_search_is_told() -> None:
    seen = look(_HDF5 + b"keras_version" + bytes(3_000_000))
    assert seen.ok
    assert codes(seen) == ["hdf5_searched_in_part"]


@pytest.mark.parametrize("place", [512, 1024, 32_768])
def test_bytes_before_hdf5_are_refused(place: int) -> None:
    assert "hdf5_user_block" in blocked(look(bytes(place) + _HDF5 + bytes(100)))


def _tar(*members: tuple[str, dict[str, Any]], format: int = tarfile.GNU_FORMAT, content: bytes = b"hello") -> bytes:  # noqa: A002  # reason: tarfile's own word
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for name, fields in members:
            info = tarfile.TarInfo(name)
            info.size = len(content) if fields.get("type", tarfile.REGTYPE) == tarfile.REGTYPE else 0
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content[: info.size]))
    return out.getvalue()


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar(kind: int) -> None:
    members = [("a/b.txt", {}), ("a", {"type": tarfile.DIRTYPE}), ("./c.txt", {})]
    if kind != tarfile.USTAR_FORMAT:
        members.append(("x" * 120 + "/" + "é" * 80, {}))
    seen = look(_tar(*members, format=kind), declared="tar")
    assert seen.format == "tar"
    assert codes(seen) == ["tar_members_unread"]
    assert seen.facts["members"] == len(members)


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize(
    ("member", "code"),
    [
        (("../x", {}), "tar_name"),
        (("/etc/passwd", {}), "tar_name"),
        (("a/../../x", {}), "tar_name"),
        (("../" + "x" * 150, {}), "tar_name"),
        (("x" * 120 + "/../../x", {}), "tar_name"),
        (("a\\b", {}), "tar_name"),
        (("link", {"type": tarfile.SYMTYPE, "linkname": "/etc"}), "tar_kind"),
        (("link", {"type": tarfile.LNKTYPE, "linkname": "a"}), "tar_kind"),
        (("device", {"type": tarfile.BLKTYPE}), "tar_kind"),
        (("fifo", {"type": tarfile.FIFOTYPE}), "tar_kind"),
    ],
)  # fmt: skip
def test_tar_members_that_lead_elsewhere(kind: int, member: tuple[str, dict[str, Any]], code: str) -> None:
    seen = look(_tar(("a", {}), member, format=kind))
    assert seen.format == "tar"
    assert blocked(seen) == [code]


def test_tar_that_lies() -> None:
    data = _tar(("a", {}), ("b", {}))
    assert blocked(look(data[:1024] + b"X" + data[1025:])) == ["tar_checksum"]
    huge = bytearray(_tar(("a", {})))
    huge[124:136] = b"77777777777\0"
    huge[148:156] = b" " * 8
    huge[148:156] = b"%06o\0 " % sum(huge[:512])
    assert blocked(look(bytes(huge))) == ["truncated"]
    overriding = _tar(("a", {"pax_headers": {"size": "1"}}), format=tarfile.PAX_FORMAT)
    assert blocked(look(overriding)) == ["tar_pax"]
    many = _tar(*[(str(i), {}) for i in range(11)])
    assert blocked(look(many, limits=Limits(archive_members=10))) == ["tar_too_many"]


def test_a_pickle_in_a_tar_is_said_to_be_executable() -> None:
    assert look(_tar(("model", {}), content=b"\x80\x02N.")).executable


def test_compressed_files_that_are_no_pickles() -> None:
    seen = look(gzip.compress(b"text, nothing more\n" * 100), "a.csv.gz", "compressed")
    assert seen.format == "compressed"
    assert seen.findings == ()
    assert seen.facts == {"compression": "gzip"}


@pytest.mark.parametrize(
    ("data", "format_"),
    [
        (b'{"a": [1, 2, {"b": null}]}', "json"),
        (b" [1]\n", "json"),
        (b'{"a": 1', "text"),
        (b'{"a": 1, "a": 2}', "text"),
        (b"{NaN}", "text"),
        (b"[" * 100_000 + b"]" * 100_000, "text"),
        ("höhe: 5\n".encode(), "text"),
        (b"\xef\xbb\xbfa,b\n", "text"),
        (b"a\x00b", "unknown"),
        (b"caf\xe9", "unknown"),
        (b"x^2 + 3\n", "text"),
        (b"\xff\xfe\xfd", "unknown"),
    ],
)
def test_json_text_and_neither(data: bytes, format_: str) -> None:
    seen = look(data)
    assert seen.format == format_
    assert seen.findings == ()


def test_large_texts_are_looked_at_from_both_ends() -> None:
    large = json.dumps({str(i): "é" for i in range(60_000)}, ensure_ascii=False).encode()
    seen = look(large, "tokenizer.json", "json")
    assert seen.format == "json"
    assert seen.facts == {"checked": "both ends"}
    for cut in range(4):  # characters of two bytes, cut at every place by the borders of head and tail
        assert look(b"x" * cut + "é".encode() * 100_000).format == "text"
    assert look(large[:-1] + b"\x00}").format == "unknown"


def test_an_empty_file() -> None:
    seen = look(b"", "a.json")
    assert seen.format == "unknown"
    assert seen.ok
    assert codes(seen) == ["empty_file"]
