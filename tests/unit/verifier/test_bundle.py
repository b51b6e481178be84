"""An exported log, and what one changed byte of it comes to: the entry and the layer are named."""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from muniment.verifier.main import main

from .naive import Signer, checkpoint, entry, leaf, receipt, write_log

SIZE = 256 * 3 + 17
LOG = Signer()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of three full bundles and a part."""
    folder = tmp_path_factory.mktemp("log")
    write_log(folder, [entry(index) for index in range(SIZE)])
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    def run(*words: str | Path, key: Signer = LOG) -> tuple[int, dict[str, Any]]:
        code = main([*map(str, words), "--json", "--key", key.vkey])
        out, err = capsys.readouterr()
        return code, json.loads(out or err)

    return run


Verify = Callable[..., tuple[int, dict[str, Any]]]


def test_a_good_log_agrees_in_every_wrapping(whole: Path, tmp_path: Path, verify: Verify) -> None:
    with zipfile.ZipFile(tmp_path / "log.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in whole.rglob("*"):
            archive.write(file, Path("export") / file.relative_to(whole))
    for name, mode in (("log.tar", "w"), ("log.tar.gz", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as archive:  # type: ignore[call-overload]  # reason: modes from a table
            archive.add(whole, arcname=".")
    for path in (whole, tmp_path / "log.zip", tmp_path / "log.tar", tmp_path / "log.tar.gz"):
        code, report = verify("bundle", path)
        assert (code, report["ok"], report["size"], report["entries"]) == (0, True, SIZE, SIZE), path


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def place(index: int) -> int:
    """Where an entry's data begins in its bundle."""
    first = index // 256 * 256
    return sum(2 + len(entry(number)) for number in range(first, index)) + 2


@pytest.mark.parametrize("index", [0, 255, 256, 500, SIZE - 1])
def test_one_flipped_bit_of_an_entry(copy: Path, verify: Verify, index: int) -> None:
    tail = ".p/17" if index >= 768 else ""
    flip(copy / f"tile/entries/{index // 256:03d}{tail}", place(index) + 5)
    code, report = verify("bundle", copy)
    assert (code, report["first"]["layer"], report["first"]["index"]) == (1, "entries", index)
    assert report["first"]["expected"] == f"leaf hash {leaf(entry(index)).hex()}"
    assert len(report["findings"]) == 1


@pytest.mark.parametrize("index", [3, 600, SIZE - 1])
def test_one_flipped_bit_of_a_length(copy: Path, verify: Verify, index: int) -> None:
    tail = ".p/17" if index >= 768 else ""
    flip(copy / f"tile/entries/{index // 256:03d}{tail}", place(index) - 1)
    code, report = verify("bundle", copy)
    assert (code, report["first"]["layer"], report["first"]["index"]) == (1, "entries", index)


@pytest.mark.parametrize("index", [0, 255, 700, SIZE - 1])
def test_one_flipped_bit_of_a_tile(copy: Path, verify: Verify, index: int) -> None:
    tail = ".p/17" if index >= 768 else ""
    flip(copy / f"tile/0/{index // 256:03d}{tail}", index % 256 * 32 + 9)
    code, report = verify("bundle", copy)
    assert (code, report["first"]["layer"], report["first"]["index"]) == (1, "tile/0", index)


def test_one_flipped_bit_of_an_upper_tile(copy: Path, verify: Verify) -> None:
    flip(copy / "tile/1/000.p/3", 40)
    code, report = verify("bundle", copy)
    assert (code, report["first"]["layer"], report["first"]["index"]) == (1, "tile/1", 256)


def test_every_bit_of_a_checkpoint_counts(copy: Path, verify: Verify) -> None:
    good = (copy / "checkpoint").read_bytes()
    for at in range(len(good)):
        (copy / "checkpoint").write_bytes(good)
        flip(copy / "checkpoint", at)
        code, report = verify("bundle", copy)
        assert (code, report["first"]["layer"]) == (1, "checkpoint"), at


def test_an_entry_and_its_hash_changed_together(copy: Path, verify: Verify) -> None:
    changed = entry(300, operator="muniment|mallo")
    bundle = copy / "tile/entries/001"
    bundle.write_bytes(bundle.read_bytes().replace(entry(300), changed))
    tile = copy / "tile/0/001"
    tile.write_bytes(tile.read_bytes().replace(leaf(entry(300)), leaf(changed)))
    code, report = verify("bundle", copy)
    assert code == 1
    assert [(one["layer"], one["index"]) for one in report["findings"] if "index" in one] == [("tile/1", 256)]
    assert "root_differs" in {one["code"] for one in report["findings"]}


def test_swapped_inserted_and_dropped_entries(copy: Path, verify: Verify) -> None:
    bundle = copy / "tile/entries/000"
    good = bundle.read_bytes()
    records = [len(entry(n)).to_bytes(2, "big") + entry(n) for n in range(256)]
    swapped = [*records[:7], records[8], records[7], *records[9:]]
    inserted = [*records[:7], records[7], *records[7:-1]]
    for change, first in ((swapped, 7), (inserted, 8), (records[:-1], 255), ([*records, records[0]], 255)):
        bundle.write_bytes(b"".join(change))
        code, report = verify("bundle", copy)
        assert (code, report["first"]["layer"], report["first"]["index"]) == (1, "entries", first)
    bundle.write_bytes(good)
    assert verify("bundle", copy)[0] == 0


@pytest.mark.parametrize(
    ("name", "layer", "index"),
    [("tile/entries/001", "entries", 256), ("tile/0/002", "tile/0", 512), ("tile/1/000.p/3", "tile/1", 0)],
)
def test_a_missing_file(copy: Path, verify: Verify, name: str, layer: str, index: int) -> None:
    (copy / name).unlink()
    code, report = verify("bundle", copy)
    assert (code, report["first"]["layer"], report["first"]["index"]) == (1, layer, index)
    assert report["first"]["code"] == "missing"


def test_a_replayed_event_and_a_time_that_goes_back(tmp_path: Path, verify: Verify) -> None:
    entries = [entry(index) for index in range(300)]
    entries[280] = entry(280, event_id="e-3")
    entries[290] = entry(290, log_time="2026-05-17T09:00:00Z")
    write_log(tmp_path, entries)
    code, report = verify("bundle", tmp_path)
    assert code == 1
    assert [(one["code"], one["index"]) for one in report["findings"]] == [
        ("event_id_repeated", 280),
        ("log_time_went_back", 290),
    ]


def test_another_key_and_another_log(whole: Path, verify: Verify) -> None:
    assert verify("bundle", whole, key=Signer(seed=b"x" * 32))[1]["first"]["code"] == "not_signed"
    assert verify("bundle", whole, key=Signer("example.com/other"))[1]["first"]["code"] == "origin_unknown"


def test_rotation_takes_either_key_and_a_false_line_spoils_the_note(tmp_path: Path, verify: Verify) -> None:
    new = Signer(seed=b"n" * 32)
    tree = write_log(tmp_path, [entry(0)], LOG, new)
    assert verify("bundle", tmp_path)[0] == verify("bundle", tmp_path, key=new)[0] == 0
    good = checkpoint(1, tree.root(0, 1), LOG, new).decode().split("\n")
    other = checkpoint(2, tree.root(0, 1), LOG).decode().split("\n")
    (tmp_path / "checkpoint").write_text("\n".join([*good[:4], other[4], good[5], ""]))
    code, report = verify("bundle", tmp_path, "--key", new.vkey)
    assert (code, report["first"]["code"]) == (1, "signature_invalid")


def test_a_pack_of_receipts(tmp_path: Path, verify: Verify) -> None:
    entries = [entry(index) for index in range(20)]
    tree = write_log(tmp_path / "log", entries)
    note = (tmp_path / "log/checkpoint").read_bytes()
    pack = tmp_path / "pack"
    (pack / "receipts").mkdir(parents=True)
    (pack / "entries").mkdir()
    for index in (3, 12):
        (pack / f"receipts/{index}.tlog-proof").write_bytes(receipt(tree, index, note))
        (pack / f"entries/{index}.json").write_bytes(entries[index])
    (pack / "receipts/5.tlog-proof").write_bytes(receipt(tree, 5, note, extra=entries[5]))
    assert verify("bundle", pack)[0] == 0
    flip(pack / "entries/12.json", 30)
    code, report = verify("bundle", pack)
    assert (code, report["first"]["layer"], report["first"]["index"]) == (1, "receipt", 12)


def test_what_cannot_be_read_says_nothing_about_the_log(tmp_path: Path, verify: Verify) -> None:
    assert verify("bundle", tmp_path / "nowhere")[0] == 3
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    assert verify("bundle", tmp_path / "broken.zip")[0] == 3
    assert main(["bundle", str(tmp_path)]) == 2
    assert main(["bundle", str(tmp_path), "--key", "no+key"]) == 2
    assert main(["bundle", str(tmp_path), "--key", LOG.vkey, "--require", "1"]) == 2
