"""The published audit log: its checkpoint, proofs and keys, as calls without I/O (`exchange.Call`)."""

from __future__ import annotations

from typing import Any

from muniment.sdk.exchange import Call, ask, ask_json, request


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
