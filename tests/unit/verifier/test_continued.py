"""From a log to the one before it: the link holds, and each way in which it does not is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from muniment.verifier.main import main

from .naive import Signer, Tree, checkpoint, entry, leaf, receipt, write_log

OLD = Signer("example.com/old", seed=b"o" * 32)
NEW = Signer()
SIZE = 300


def old_log(folder: Path, size: int = SIZE, **changed: Any) -> bytes:
    """An old log of `size` entries, with its checkpoint."""
    entries = [entry(index, **(changed if index == 7 else {})) for index in range(size)]
    tree = write_log(folder, entries)
    note = checkpoint(size, tree.root(0, size), OLD, origin=OLD.name)
    (folder / "checkpoint").write_bytes(note)
    return note


def first_receipt(folder: Path, note: str, *, index: int = 0, action: str = "audit.log-continued") -> Path:
    """The receipt of the new log's entry, which names the old log's end."""
    changes = [{"path": "continues/checkpoint", "after": note}]
    entries = [entry(at, action=action, changes=changes) if at == index else entry(at) for at in range(5)]
    tree = write_log(folder, entries, NEW)
    file = folder / "first.tlog-proof"
    file.write_bytes(receipt(tree, index, (folder / "checkpoint").read_bytes(), entries[index]))
    return file


def run(capsys: pytest.CaptureFixture[str], file: Path, old: Path, old_key: Signer = OLD) -> tuple[int, dict[str, Any]]:
    words = ("continued", str(file), "--key", NEW.vkey, "--old", str(old), "--old-key", old_key.vkey, "--json")
    code = main(words)
    out, err = capsys.readouterr()
    return code, json.loads(out or err)


def test_the_link_leads_to_the_whole_old_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = old_log(tmp_path / "old")
    code, report = run(capsys, first_receipt(tmp_path / "new", note.decode()), tmp_path / "old")
    assert (code, report["ok"], report["entries"]) == (0, True, SIZE), report
    assert (report["continued_by"], report["origin"], report["size"]) == (NEW.name, OLD.name, SIZE)


@pytest.mark.parametrize(
    ("now", "code", "index"),
    [(SIZE + 20, "log_went_on", SIZE), (SIZE - 20, "rolled_back", SIZE - 20)],
)
def test_an_old_log_that_ends_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], now: int, code: str, index: int
) -> None:
    note = old_log(tmp_path / "then")
    old_log(tmp_path / "now", now)
    exit_code, report = run(capsys, first_receipt(tmp_path / "new", note.decode()), tmp_path / "now")
    assert exit_code == 1
    assert (report["first"]["layer"], report["first"]["code"], report["first"]["index"]) == ("link", code, index)


def test_an_old_log_that_was_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = old_log(tmp_path / "then")
    old_log(tmp_path / "now", operator="muniment|mallory")
    code, report = run(capsys, first_receipt(tmp_path / "new", note.decode()), tmp_path / "now")
    assert (code, [one["code"] for one in report["findings"]]) == (1, ["log_forked"])


def test_a_changed_entry_of_the_old_log_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = old_log(tmp_path / "old")
    file = tmp_path / "old/tile/entries/000"
    data = bytearray(file.read_bytes())
    data[data.index(b"muniment|alice")] ^= 1
    file.write_bytes(data)
    code, report = run(capsys, first_receipt(tmp_path / "new", note.decode()), tmp_path / "old")
    assert (code, report["first"]["layer"], report["first"]["index"]) == (1, "entries", 0)


def test_links_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = old_log(tmp_path / "old").decode()
    for number, (file, key, found) in enumerate(
        [
            (first_receipt(tmp_path / "a", note, index=2), OLD, "link_missing"),
            (first_receipt(tmp_path / "b", note, action="version.committed"), OLD, "link_missing"),
            (first_receipt(tmp_path / "c", note), Signer("example.com/old", seed=b"x" * 32), "not_signed"),
            (first_receipt(tmp_path / "d", "no note"), OLD, "note_malformed"),
        ]
    ):
        code, report = run(capsys, file, tmp_path / "old", key)
        assert (code, report["first"]["code"]) == (1, found), number


def test_an_export_that_is_not_whole_is_not_the_old_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = old_log(tmp_path / "old")
    part = tmp_path / "part"
    (part / "receipts").mkdir(parents=True)
    (part / "checkpoint").write_bytes(note)
    entries = [entry(index) for index in range(SIZE)]
    tree = Tree([leaf(one) for one in entries])
    (part / "receipts/7.tlog-proof").write_bytes(receipt(tree, 7, note, entries[7]))
    code, report = run(capsys, first_receipt(tmp_path / "new", note.decode()), part)
    assert (code, report["ok"]) == (1, False), report
