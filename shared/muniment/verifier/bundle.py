"""A log, or a part of it, verified from its files: an export, an evidence pack, or a living log over HTTP.

A whole log is laid out as tlog-tiles: `checkpoint`, `tile/...`. Besides, or instead, there may be single entries with
their receipts: `entries/NAME.json` (a leaf's data, byte for byte) and `receipts/NAME.tlog-proof`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from muniment.verifier.checkpoint import Opened, Trust, open_checkpoint
from muniment.verifier.entry import entry_checks
from muniment.verifier.errors import CheckpointError, NoteError, ProofError, ReceiptError
from muniment.verifier.gossip import misbehaviour
from muniment.verifier.note import MAX_NOTE
from muniment.verifier.receipt import MAX_RECEIPT, parse_receipt, verify_receipt
from muniment.verifier.report import Finding, Report
from muniment.verifier.source import Archive, Source
from muniment.verifier.state import load_state, save_state
from muniment.verifier.tiles import CHECKPOINT, MAX_ENTRY, entries_path
from muniment.verifier.tree import TileTree
from muniment.verifier.walk import Progress, verify_tiles

_PROOF: Final = ".tlog-proof"


def verify_bundle(source: Archive, trust: Trust, progress: Progress) -> Report:
    """Verify everything in an export. Raises `Unreadable`."""
    report = Report("bundle")
    receipts = [name for name in source.names("receipts") if name.endswith(_PROOF)]
    raw = source.read(CHECKPOINT, MAX_NOTE)
    opened = None if raw is None else _opened(raw, trust, report)
    whole = any(source.read(entries_path(0, width), 2**24) is not None for width in _first_widths(opened))
    if raw is None and not receipts:
        report.findings.append(Finding("checkpoint", None, "missing", "the bundle has neither checkpoint nor receipts"))
    if opened is not None and (whole or not receipts):
        _walk(source, opened, None, report, progress)
    for done, name in enumerate(receipts, start=1):
        _receipt(source, name.removesuffix(_PROOF), trust, report)
        progress(done, len(receipts))
    if receipts:
        report.facts["receipts"] = len(receipts)
    return report


def verify_log(source: Source, trust: Trust, state: Path | None, progress: Progress) -> Report:
    """Verify a living log; with a state file, from where the last run ended, and that it has only grown since.

    Raises `Unreadable`, `StateError`.
    """
    report = Report("log")
    before = None if state is None else load_state(state, trust)
    raw = source.read(CHECKPOINT, MAX_NOTE)
    if raw is None:
        report.findings.append(Finding("checkpoint", None, "missing", "the log has published no checkpoint"))
        return report
    opened = _opened(raw, trust, report)
    if opened is None:
        return report
    start: TileTree | None = None
    if before is not None:
        start = before[1]
        report.facts["verified_before"] = start.size
        if not _has_grown(before[0], opened, report):
            return report
    tree = _walk(source, opened, start, report, progress)
    if report.ok and state is not None and tree is not None:
        save_state(state, opened, tree)
    return report


def _opened(raw: bytes, trust: Trust, report: Report) -> Opened | None:
    try:
        opened = open_checkpoint(raw, trust)
    except (CheckpointError, NoteError) as error:
        report.findings.append(Finding.of("checkpoint", None, error))
        return None
    report.opened(opened)
    return opened


def _has_grown(before: Opened, now: Opened, report: Report) -> bool:
    """Whether the log may be the one that was verified before and has grown; a shorter or another one is a finding."""
    old, new = before.checkpoint, now.checkpoint
    if old.origin != new.origin:
        code, message = "origin_changed", "the state file is of another log"
        report.findings.append(Finding("checkpoint", None, code, message, old.origin, new.origin))
    elif new.size < old.size:
        message = "the log is shorter than when it was last verified: entries were taken away, or an old copy is served"
        found = Finding("checkpoint", new.size, "rolled_back", message, f">= {old.size} entries", f"{new.size} entries")
        report.findings.append(found)
    elif new.size == old.size and new.root != old.root:
        message = f"the log has signed two roots for size {new.size}"
        report.findings.append(Finding("checkpoint", None, "log_forked", message, old.root.hex(), new.root.hex()))
        keys = sorted({one.key.text() for one in (*before.signed_by, *now.signed_by)})
        report.facts["misbehaviour"] = misbehaviour(keys, [old.note.raw, new.note.raw])
    return report.ok


def _walk(
    source: Source, opened: Opened, start: TileTree | None, report: Report, progress: Progress
) -> TileTree | None:
    with entry_checks() as checks:
        walk = verify_tiles(source, opened.checkpoint, start=start, look=checks.look, progress=progress)
        report.findings += [*walk.findings, *checks.result()]
        report.facts["entries"] = opened.checkpoint.size - (start.size if start else 0)
        if checks.other_form:
            report.facts["other_form"] = checks.other_form
    return walk.tree


def _receipt(source: Archive, name: str, trust: Trust, report: Report) -> None:
    """Verify one entry of a pack by its receipt, whose extra data is the entry where there is no file of it."""
    index: int | None = None
    try:
        receipt = parse_receipt(source.read(f"receipts/{name}{_PROOF}", MAX_RECEIPT) or b"")
        index = receipt.index
        entry = source.read(f"entries/{name}.json", MAX_ENTRY)
        if entry is None:
            entry = receipt.extra
        if entry is not None:
            verify_receipt(receipt, entry, trust)
            return
    except (ReceiptError, CheckpointError, NoteError, ProofError) as error:
        report.findings.append(Finding.of("receipt", index, error))
        return
    message = f"entries/{name}.json is not there, and the receipt does not hold the entry"
    report.findings.append(Finding("receipt", index, "entry_missing", message))


def _first_widths(opened: Opened | None) -> tuple[int, ...]:
    size = 0 if opened is None else opened.checkpoint.size
    return (256,) if size >= 256 else (size, 256) if size else ()
