"""Zip files: every disagreement between their two halves, and what each kind holds."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
import pytest

from muniment.checksum_validator.formats import Limits

from .builders import blocked, codes, look, npy_file, torch_zip, zip_file


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def _patch(data: bytes, magic: bytes, offset: int, value: bytes, nth: int = 0) -> bytes:
    """Overwrite bytes at an offset into the nth record with this signature."""
    place = -1
    for _ in range(nth + 1):
        place = data.index(magic, place + 1)
    return data[: place + offset] + value + data[place + offset + len(value) :]


def _two(**options: Any) -> bytes:
    return zip_file({"a.txt": b"hello" * 10, "b.txt": b"world" * 10}, **options)


@pytest.mark.parametrize("deflated", [False, True])
def test_a_plain_archive(deflated: bool) -> None:
    seen = look(_two(deflated=deflated), "data.zip", "zip")
    assert seen.format == "zip"
    assert seen.findings == () or codes(seen) == ["zip_expands"]
    assert not seen.executable
    assert seen.facts["members"] == 2
    assert seen.facts["names"] == ["a.txt", "b.txt"]
    assert seen.facts["uncompressed_bytes"] == 100


def test_streamed_and_zip64_archives_are_valid() -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.out = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.out += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type,unused-ignore]  # a stream is enough
        archive.writestr("a.txt", b"data descriptors follow" * 10)
        with archive.open("b.txt", "w", force_zip64=True) as member:
            member.write(b"zip64" * 10)
    assert blocked(look(bytes(pipe.out))) == []
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open("a.txt", "w", force_zip64=True) as member:
        member.write(b"zip64")
    assert look(out.getvalue()).ok


BROKEN = {
    "name differs in the local header": (_patch(_two(), _LOCAL, 30, b"X"), "zip_disagrees"),
    "name differs in the directory": (_patch(_two(), _CENTRAL, 46, b"X"), "zip_disagrees"),
    "checksum differs": (_patch(_two(), _CENTRAL, 16, b"\0\0\0\0"), "zip_disagrees"),
    "local checksum differs": (_patch(_two(), _LOCAL, 14, b"\0\0\0\0"), "zip_disagrees"),
    "size differs": (_patch(_two(), _LOCAL, 22, struct.pack("<L", 49)), "zip_disagrees"),
    "packed size differs": (_patch(_two(), _LOCAL, 18, struct.pack("<L", 49)), "zip_disagrees"),
    "flags differ": (_patch(_two(), _LOCAL, 6, b"\x00\x08"), "zip_disagrees"),
    "method differs": (_patch(_two(), _LOCAL, 8, b"\x08"), "zip_disagrees"),
    "encrypted": (_patch(_patch(_two(), _LOCAL, 6, b"\x01"), _CENTRAL, 8, b"\x01"), "zip_flags"),
    "encrypted in the directory alone": (_patch(_two(), _CENTRAL, 8, b"\x01"), "zip_flags"),
    "strong encryption": (_patch(_two(), _CENTRAL, 8, b"\x40"), "zip_flags"),
    "unknown method": (_patch(_patch(_two(), _LOCAL, 8, b"\x63"), _CENTRAL, 10, b"\x63"), "zip_method"),
    "stored with two sizes": (_patch(_patch(_two(), _LOCAL, 22, b"\x33"), _CENTRAL, 24, b"\x33"), "zip_disagrees"),
    "junk before": (b"junk" + _two(), "zip_prefix"),
    "junk behind": (_two() + b"junk", "zip_trailing_bytes"),
    "count differs": (_patch(_two(), _END, 8, struct.pack("<HH", 1, 1)), "zip_directory"),
    "count too large": (_patch(_two(), _END, 8, struct.pack("<HH", 3, 3)), "truncated"),
    "two disks": (_patch(_two(), _END, 4, b"\x01"), "zip_split"),
    "zip64 promised, none there": (_patch(_two(), _END, 16, b"\xff\xff\xff\xff"), "zip_prefix"),
    "member offset differs": (_patch(_two(), _CENTRAL, 42, struct.pack("<L", 7), 1), "zip_overlap"),
    "members share bytes": (_patch(_two(), _CENTRAL, 42, struct.pack("<L", 0), 1), "zip_overlap"),
    "symbolic link": (_patch(_patch(_two(), _CENTRAL, 5, b"\x03"), _CENTRAL, 38, struct.pack("<L", 0o120777 << 16)), "zip_kind"),
    "device": (_patch(_patch(_two(), _CENTRAL, 5, b"\x03"), _CENTRAL, 38, struct.pack("<L", 0o060666 << 16)), "zip_kind"),
    "cut off": (_two()[:-1], "zip_no_end"),
    "only a local header": (_two()[:60], "zip_no_end"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "code"), BROKEN.values(), ids=BROKEN.keys())
def test_disagreements_are_refused(data: bytes, code: str) -> None:
    seen = look(data, declared="zip")
    assert seen.format == "zip"
    assert blocked(seen) == [code]


def test_bytes_between_members_are_refused() -> None:
    one = zip_file({"a.txt": b"a"})
    place = one.index(_CENTRAL)
    hidden = one[:place] + b"hidden" + one[place:]
    moved = _patch(hidden, _END, 16, struct.pack("<L", place + 6))
    assert blocked(look(moved)) == ["zip_hidden_bytes"]


def test_bytes_before_the_first_member_are_refused_even_if_all_offsets_fit() -> None:
    out = io.BytesIO(b"\x00" * 100)
    out.seek(100)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("a.txt", b"a")
    seen = look(out.getvalue())
    assert seen.format == "zip"
    assert blocked(seen) == ["zip_hidden_bytes"]


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/../../x", "a\\b", "C:\\x", "a\x01b", "a//b", "./a", "a\u202eb", "é" * 300]
)
def test_names_that_lead_elsewhere(name: str) -> None:
    data = zip_file({"x" * len(name.encode()): b"x"}).replace(b"x" * len(name.encode()), name.encode())
    data = _patch(_patch(data, _LOCAL, 7, b"\x08"), _CENTRAL, 9, b"\x08")
    assert blocked(look(data)) == ["zip_name"]


def test_a_name_that_is_there_twice() -> None:
    data = zip_file({"a.txt": b"1", "b.txt": b"2"}).replace(b"b.txt", b"a.txt")
    assert blocked(look(data)) == ["zip_duplicate"]
    case = zip_file({"m/data.pkl": b"N.", "m/DATA.PKL": b"N."})  # PyTorch's reader ignores case
    assert blocked(look(case)) == ["zip_duplicate"]


def test_a_comment_is_no_hiding_place_for_another_archive() -> None:
    assert look(_two(comment=b"hello")).ok
    assert blocked(look(_two(comment=_two()))) == ["zip_ambiguous"]
    # The longest comment there can be: its end record begins before the last 64 KiB.
    assert look(_two(comment=b"x" * 65_535)).format == "zip"


def test_sizes_are_bounded() -> None:
    bomb = zip_file({"zeros": bytes(4 * 1024 * 1024)}, deflated=True)
    assert len(bomb) < 8192
    assert blocked(look(bomb)) == ["zip_ratio"]
    assert codes(look(zip_file({"zeros": bytes(100_000)}, deflated=True))) == ["zip_expands"]
    many = zip_file({str(i): b"" for i in range(11)})
    assert blocked(look(many, limits=Limits(archive_members=10))) == ["zip_too_many"]
    assert look(many, limits=Limits(archive_members=11)).ok


def test_a_thousand_declared_members_cost_nothing() -> None:
    lie = _patch(_two(), _END, 8, struct.pack("<HH", 9_999, 9_999))
    assert blocked(look(lie)) == ["truncated"]


def test_an_archive_in_an_archive() -> None:
    for deflated in (False, True):
        nested = zip_file({"inner.bin": _two()}, deflated=deflated)
        assert blocked(look(nested)) in (["zip_nested"], ["zip_ambiguous"])


def test_zip64_lies() -> None:
    data = bytearray(_two())
    end = data.index(_END)
    count, size, offset = struct.unpack_from("<HLL", data, end + 10)

    def with_zip64(count: int, size: int, offset: int, place: int | None = None) -> bytes:
        record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
        locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end if place is None else place, 1)
        return bytes(data[:end]) + record + locator + bytes(data[end:])

    assert look(with_zip64(count, size, offset)).ok
    assert blocked(look(with_zip64(count + 1, size, offset))) == ["zip64_disagrees"]
    assert blocked(look(with_zip64(count, size, offset + 1))) == ["zip64_disagrees"]
    assert blocked(look(with_zip64(1 << 63, size, offset))) == ["zip64_disagrees"]
    assert blocked(look(with_zip64(count, size, offset, place=0))) == ["zip64_disagrees"]
    assert blocked(look(with_zip64(count, size, offset, place=1 << 63))) == ["zip64_disagrees"]


# --- PyTorch


def _pickled(thing: object) -> bytes:
    return pickle.dumps(thing, 2)


def test_torch_files() -> None:
    seen = look(torch_zip(_pickled({"a": 1})), "model.pt", "torch")
    assert seen.format == "torch-zip"
    assert seen.executable
    assert codes(seen) == ["executable_format"]
    assert seen.facts["archive"] == "model"
    assert seen.facts["storages"] == 1
    assert seen.facts["torchscript"] is False


def test_torchscript_classes_are_no_python_modules() -> None:
    members = {
        "m/data.pkl": b"\x80\x02c__torch__.my.Net\nNet\n)\x81.",
        "m/constants.pkl": b"\x80\x02).",
        "m/code/x.py": b"",
    }
    seen = look(zip_file(members))
    assert seen.ok
    assert seen.facts["torchscript"] is True


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize(
    "name", ["model/data.pkl", "data.pkl", "model/constants.pkl", "model/data/1", "model/.data/x", "model/extra.PKL"]
)
def test_a_call_anywhere_in_a_torch_file_is_seen(name: str, deflated: bool) -> None:
    members = {"model/data.pkl": _pickled({}), "model/version": b"3\n"} | {name: _pickled(_Evil())}
    seen = look(zip_file(members, deflated=deflated))
    assert seen.format == "torch-zip"
    assert seen.executable
    assert blocked(seen) == ["pickle_global_not_allowed"]


def test_a_wrong_checksum_does_not_stop_the_scan_nor_pass() -> None:
    data = torch_zip(_pickled([_Evil()]))
    wrong = zlib.crc32(_pickled([_Evil()])) ^ 1
    for magic, offset in ((_LOCAL, 14), (_CENTRAL, 16)):
        data = _patch(data, magic, offset, struct.pack("<L", wrong))
    seen = look(data)
    assert blocked(seen) == ["pickle_global_not_allowed", "zip_crc"]
    assert seen.executable


def test_bytes_behind_a_member_s_pickle_block() -> None:
    assert blocked(look(torch_zip(_pickled({}) + b"more"))) == ["pickle_trailing_bytes"]


def test_a_member_named_as_a_pickle_must_be_one() -> None:
    assert "pickle_malformed" in blocked(look(torch_zip(b"\xff\xff")))


def test_storages_that_begin_like_pickles_are_storages() -> None:
    weights = b"\x80\x02" + np.random.default_rng(0).bytes(1000)
    seen = look(zip_file({"m/data.pkl": _pickled({}), "m/data/0": weights, "m/data/1": b"N" * 3, "m/data/2": b"."}))
    assert seen.ok


def test_a_legacy_torch_file_in_an_archive_is_followed_to_its_model() -> None:
    parts: list[object] = [0x1950A86A20F9469CFC6C, 1001, {}, _Evil(), []]
    legacy = b"".join(_pickled(part) for part in parts) + bytes(100)
    assert blocked(look(zip_file({"model.pth": legacy}))) == ["pickle_global_not_allowed"]


# --- NumPy


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_written_by_numpy(save: Any) -> None:
    out = io.BytesIO()
    save(out, a=np.arange(12.0).reshape(3, 4), b=np.array(["x"]), c=np.zeros((0, 2), np.int8))
    seen = look(out.getvalue(), "data.npz", "npz")
    assert seen.format == "npz"
    assert blocked(seen) == []
    assert not seen.executable
    assert seen.facts["arrays"] == [
        {"name": "a", "dtype": "<f8", "shape": [3, 4]},
        {"name": "b", "dtype": "<U1", "shape": [1]},
        {"name": "c", "dtype": "|i1", "shape": [0, 2]},
    ]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_array_of_objects_is_executable(save: Any) -> None:
    out = io.BytesIO()
    save(out, a=np.arange(3), o=np.array([{"x": 1}], dtype=object))
    seen = look(out.getvalue())
    assert seen.executable
    assert seen.ok
    out = io.BytesIO()
    save(out, a=np.arange(3), o=np.array([_Evil()], dtype=object))
    assert blocked(look(out.getvalue())) == ["pickle_global_not_allowed"]


def test_a_member_of_npz_must_be_an_array() -> None:
    seen = look(zip_file({"a.npy": npy_file(), "b.npy": b"something else"}))
    assert blocked(seen) == ["npy_malformed"]


# --- Keras


def _keras(config: bytes, **options: Any) -> bytes:
    metadata = b'{"keras_version": "3.15.1", "date_saved": "2026-11-01"}'
    return zip_file(
        {"metadata.json": metadata, "config.json": config, "model.weights.h5": b"\x89HDF\r\n\x1a\n"}, **options
    )


_DENSE = b'{"module": "keras.layers", "class_name": "Dense", "config": {"units": 3, "activation": "relu"}, "registered_name": null}'


@pytest.mark.parametrize("deflated", [False, True])
def test_a_keras_file(deflated: bool) -> None:
    seen = look(
        _keras(b'{"class_name": "Sequential", "layers": [' + _DENSE + b"]}", deflated=deflated), "m.keras", "keras"
    )
    assert seen.format == "keras-zip"
    assert seen.ok
    assert not seen.executable
    assert seen.facts["keras_version"] == "3.15.1"
    assert seen.facts["objects"] == 2


@pytest.mark.parametrize(
    ("config", "actual"),
    [
        (b'{"module": "keras.layers", "class_name": "Lambda", "config": {}}', "Lambda"),
        (b'{"class_name": "\\u004cambda"}', "Lambda"),
        (b'{"cl\\u0061ss_name" : "Lambda"}', "Lambda"),
        (b'{"function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}}', "__lambda__"),
        (b'{"module": "builtins", "class_name": "function", "config": "system"}', "function"),
        (b'{"module": "os", "class_name": "Path"}', "os"),
        (b'{"module": "keras_evil.layers", "class_name": "Dense"}', "keras_evil.layers"),
        (b'{"x": "\\"", "y": [{"module":"subprocess"}]}', "subprocess"),
    ],
)  # fmt: skip
def test_code_in_a_keras_file(config: bytes, actual: str) -> None:
    seen = look(_keras(b'{"layers": [' + _DENSE + b", " + config + b"]}"))
    assert seen.format == "keras-zip"
    assert seen.executable
    assert blocked(seen) == ["keras_code"]
    assert seen.findings[0].actual == actual


def test_a_text_that_only_mentions_lambda_is_none() -> None:
    assert look(
        _keras(b'{"name": "Lambda", "notes": "class_name", "description": "\\"class_name\\": \\"Lambda\\""}')
    ).ok


def test_a_large_configuration_is_read_to_its_end() -> None:
    layers = b",".join([_DENSE] * 10_000)
    seen = look(_keras(b'{"layers": [' + layers + b"]}", deflated=True), limits=Limits(zip_ratio=10_000))
    assert seen.ok
    assert seen.facts["objects"] == 10_000
    evil = _keras(b'{"layers": [' + layers + b', {"class_name": "Lambda"}]}', deflated=True)
    assert blocked(look(evil, limits=Limits(zip_ratio=10_000))) == ["keras_code"]
