"""From a log to the one that it continues: the first entry of the new log names the old one's last checkpoint.

The old log's own signature below that checkpoint is what ties the two: the new log only repeats it.
"""

from __future__ import annotations

import json
from typing import Any, Final

from muniment.verifier.bundle import verify_log
from muniment.verifier.checkpoint import Opened, Trust, open_checkpoint
from muniment.verifier.errors import CheckpointError, NoteError, VerifierError
from muniment.verifier.receipt import parse_receipt, verify_receipt
from muniment.verifier.report import Finding, Report
from muniment.verifier.source import Source
from muniment.verifier.walk import Progress

ACTION: Final = "audit.log-continued"
_PREFIX: Final = "continues/"
LINK: Final = "link"


def verify_continued(receipt: bytes, new: Trust, old: Source, old_trust: Trust, progress: Progress) -> Report:
    """Verify the receipt of the new log's first entry, the checkpoint in it, and the whole old log against that.

    Raises `Unreadable`, and `VerifierError` for a receipt that is none.
    """
    report = Report("continued log")
    proof = parse_receipt(receipt)
    entry = proof.extra
    if entry is None:
        report.findings.append(Finding("receipt", proof.index, "entry_missing", "the receipt does not hold its entry"))
        return report
    try:
        report.facts["continued_by"] = verify_receipt(proof, entry, new).checkpoint.origin
    except VerifierError as error:
        report.findings.append(Finding.of("receipt", proof.index, error))
        return report
    named = _named(proof.index, entry, report)
    if named is None:
        return report
    try:
        link = open_checkpoint(named.encode(), old_trust)
    except (CheckpointError, NoteError) as error:
        report.findings.append(Finding.of(LINK, 0, error))
        return report
    # As a log and not as an export: of that, receipts alone would do, and the old log is to be whole.
    whole = verify_log(old, old_trust, None, progress)
    report.facts |= whole.facts
    report.findings += whole.findings
    _ends_there(link, whole, report)
    return report


def _named(index: int, entry: bytes, report: Report) -> str | None:
    """The checkpoint that the entry names, unverified."""
    try:
        value: Any = json.loads(entry)
        changes = {one["path"]: one.get("after") for one in value["changes"]}
        action, note = value["action"], changes.get(f"{_PREFIX}checkpoint")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        report.findings.append(Finding(LINK, index, "entry_malformed", f"the entry cannot be read: {error!r}"))
        return None
    if index != 0 or action != ACTION or not isinstance(note, str):
        message = "the receipt is not of the entry that names the log before"
        report.findings.append(
            Finding(LINK, index, "link_missing", message, f"entry 0, {ACTION}", f"entry {index}, {action}")
        )
        return None
    return note


def _ends_there(link: Opened, whole: Report, report: Report) -> None:
    """Whether the old log, as it is now, ends where the new one says."""
    said, size, root = link.checkpoint, whole.facts.get("size"), whole.facts.get("root")
    if size is None or whole.facts.get("origin") != said.origin:
        message = "the old log has another name, or no checkpoint that can be read"
        report.findings.append(Finding(LINK, 0, "origin_changed", message, said.origin, str(whole.facts.get("origin"))))
    elif size > said.size:
        message = "the old log went on after the new one had taken its end from it"
        report.findings.append(
            Finding(LINK, said.size, "log_went_on", message, f"{said.size} entries", f"{size} entries")
        )
    elif size < said.size:
        message = "the old log is shorter than the new one says"
        report.findings.append(Finding(LINK, size, "rolled_back", message, f"{said.size} entries", f"{size} entries"))
    elif root != said.root.hex():
        message = f"the old log has another root than the new one names, at size {size}"
        report.findings.append(Finding(LINK, None, "log_forked", message, said.root.hex(), root))
