"""The published audit log: its checkpoint, proofs and keys, as calls without I/O (`exchange.Call`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muniment.contracts.errors import Conflict
from muniment.sdk.exchange import Answer, Call, Request, Unanswered, Work, ask, ask_json, request
from muniment.sdk.problems import problem_of, unanswered

if TYPE_CHECKING:
    from muniment.sdk.transfer.pool import Stop

Save = Callable[[Request, Path, "Stop"], Answer]
"""Sends a request and writes its answer into a file."""


def audit_checkpoint() -> Call[str]:
    """The newest checkpoint, a signed note."""
    answer = yield from ask(request("audit", "GET", "/audit/log/checkpoint"))
    return answer.body.decode()


def audit_receipt(entry: int | str) -> Call[str]:
    """The receipt (C2SP tlog-proof) of an entry, by its index or its event id."""
    query = {"index": entry} if isinstance(entry, int) else {"event": entry}
    answer = yield from ask(request("audit", "GET", "/audit/proof", query=query))
    return answer.body.decode()


def audit_consistency(old: int, new: int | None) -> Call[dict[str, Any]]:
    """That the log of size `new` (None: the newest checkpoint's) begins with that of size `old`."""
    found = yield from ask_json(request("audit", "GET", "/audit/consistency", query={"from": old, "to": new}))
    return dict(found)


def audit_keys() -> Call[dict[str, Any]]:
    """The log's origin, and every key that has signed for it."""
    return dict((yield from ask_json(request("audit", "GET", "/audit/keys"))))


def rotate_audit_keys(overlap_days: int) -> Call[dict[str, Any]]:
    """Let a new key sign; those before it sign beside it for so many days. Not repeated when no answer comes."""
    body = {"overlap_days": overlap_days}
    return dict((yield from ask_json(request("audit", "POST", "/audit/keys", body=body))))


def audit_export(save: Save, model: str, path: Path, since: str | None, until: str | None) -> Call[dict[str, Any]]:
    """Write an evidence pack into a file, which is there once it is whole. Not repeated: it may be large."""
    wanted = request("audit", "GET", "/audit/evidence", query={"model": model, "from": since, "to": until})
    try:
        answer: Answer = yield Work(lambda stop: save(wanted, path, stop))
    except Unanswered as lost:
        raise unanswered(lost.url, lost.reason, outcome_unknown=False) from lost
    if answer.status >= 400:
        raise problem_of(answer.status, answer.headers.get("content-type", ""), answer.body)
    return {"file": str(path), "size": path.stat().st_size}


def audit_ending() -> Call[dict[str, Any]]:
    """The end of a log that gets no more entries. Raises `Conflict` (`audit_log_open`) if there is more than is
    published, or if something was appended meanwhile.
    """
    before = yield from ask_json(request("audit", "GET", "/audit/head"))
    note = yield from audit_checkpoint()
    keys = yield from audit_keys()
    after = yield from ask_json(request("audit", "GET", "/audit/head"))
    origin, size = note.split("\n")[:2]
    if not str(before["size"]) == str(after["size"]) == size:
        raise Conflict(
            "audit_log_open",
            "the log still gets entries",
            expected=f"its newest checkpoint to cover all {after['size']} entries",
            actual=f"a checkpoint of size {size}",
            hint="stop every service but audit, and ask again in a second",
        )
    return {
        "origin": origin,
        "size": after["size"],
        "root_hash": after["root_hash"],
        "checkpoint": note,
        "keys": [one["vkey"] for one in keys["items"]],
    }
