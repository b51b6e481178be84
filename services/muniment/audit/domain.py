"""What an audit entry is, and how a batch of requests extends the log. Pure: no clock, no database.

A leaf's data is the entry's canonical JSON (RFC 8785): one spelling, so whoever has the entry can hash it again. The
entry does not hold its own index; its place is proven by the tree.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Any, Final

from muniment.audit.merkle import Frontier, grow, leaf_hash
from muniment.contracts.canonical import canonical_form, canonical_json, sha256_hex
from muniment.contracts.errors import Rejected
from muniment.contracts.events import AuditLogged, AuditRequested, Cause, Change
from muniment.contracts.ids import Sha256
from muniment.contracts.model import rfc3339

ENTRY_VERSION: Final = 1
MAX_LEAF: Final = 65_535
"""Bytes of a leaf's data at most: tile entry bundles give its length in 16 bits (C2SP tlog-tiles)."""
VALUE_LIMITS: Final = (1024, 256, 128)
"""Bytes of a changed value's canonical JSON that an entry holds itself; the later ones only where it must shrink."""
MAX_EVENT_ID: Final = 1024
"""Bytes of an event id at most."""
_DIGEST_MEMBERS: Final = frozenset({"value_sha256", "value_size"})


@dataclass(frozen=True, slots=True)
class Request:
    """One audit request as it arrived: its event's id, the flow it belongs to, and what it says.

    Raises `Rejected` (`audit_event_id_too_long`).
    """

    event_id: str
    correlation: str | None
    data: AuditRequested

    def __post_init__(self) -> None:
        if len(self.event_id.encode()) > MAX_EVENT_ID:
            raise Rejected(
                "audit_event_id_too_long",
                "the audit request's event id is too long to be kept for ever",
                expected=f"<= {MAX_EVENT_ID} bytes of UTF-8",
                actual=f"{len(self.event_id.encode())} bytes",
            )


@dataclass(frozen=True, slots=True)
class Head:
    """The log so far: its tree, and the log time of its last entry. No entry is ever earlier than the one before."""

    tree: Frontier
    log_time: datetime


@dataclass(frozen=True, slots=True)
class Appended:
    """A new entry at its place. `root_hash` is the tree's root with this entry as its last (size `index` + 1)."""

    index: int
    request: Request
    log_time: datetime
    entry: dict[str, Any]
    data: bytes
    leaf_hash: bytes
    root_hash: bytes
    reads_back: bool
    """Whether any JSON reader's value of `data`, written again, is `data`."""

    def record(self) -> bytes:
        """The JSON of the audit-log topic's record, an `AuditLogged`: the entry in it is the leaf's own text.

        But where a reader would take a number of that text for another: there it is written as Python has it.
        """
        if not self.reads_back:
            return self._written_anew()
        return b'{"index":%d,"leaf_hash":"%b","tree_size":%d,"root_hash":"%b","entry":%b}' % (
            self.index,
            self.leaf_hash.hex().encode(),
            self.index + 1,
            self.root_hash.hex().encode(),
            self.data,
        )

    def _written_anew(self) -> bytes:
        record = AuditLogged(
            index=self.index,
            leaf_hash=Sha256(self.leaf_hash.hex()),
            tree_size=self.index + 1,
            root_hash=Sha256(self.root_hash.hex()),
            entry=self.entry,
        )
        return record.model_dump_json(exclude_none=True).encode()


def extend(
    head: Head, requests: Sequence[Request], known: Container[str], now: datetime
) -> tuple[Head, list[Appended]]:
    """The log with the requests appended in their order; those whose event id is `known`, or came just before, not.

    All entries of the batch carry one log time: `now`, or the last entry's if the clock has gone back.
    """
    log_time = max(now, head.log_time)
    fresh: dict[str, Request] = {}
    for request in requests:
        if request.event_id not in known:
            fresh.setdefault(request.event_id, request)
    if not fresh:
        return head, []
    built = [(request, *_written(request, log_time)) for request in fresh.values()]
    leaves = [leaf_hash(data) for _, _, data, _ in built]
    tree, roots = grow(head.tree, leaves)
    appended = [
        Appended(index, request, log_time, entry, data, leaf, root, reads_back)
        for index, ((request, entry, data, reads_back), leaf, root) in enumerate(
            zip(built, leaves, roots, strict=True), head.tree.size
        )
    ]
    return Head(tree, log_time), appended


def build_entry(request: Request, log_time: datetime) -> tuple[dict[str, Any], bytes]:
    """The entry and its canonical JSON, at most `MAX_LEAF` bytes.

    A changed value over the first of `VALUE_LIMITS` is given by its digest. An entry that is still too large has
    smaller values digested as well; the last resort is the digest of the whole list of changes.
    """
    entry, data, _ = _written(request, log_time)
    return entry, data


def _written(request: Request, log_time: datetime) -> tuple[dict[str, Any], bytes, bool]:
    for entry in _ever_smaller(request, log_time):
        data, reads_back = canonical_form(entry)
        if len(data) <= MAX_LEAF:
            return entry, data, reads_back
    raise AssertionError("every field but the changes is bounded by AuditRequested")  # a unit test holds the sum


def _ever_smaller(request: Request, log_time: datetime) -> Iterator[dict[str, Any]]:
    entry = _facts(request, log_time)
    for limit in VALUE_LIMITS:
        yield {**entry, "changes": [_change(change, limit) for change in request.data.changes]}
    everything = canonical_json([_change(change, limit=None) for change in request.data.changes])
    count = len(request.data.changes)
    yield {**entry, "changes": [], "changes_digest": {**_digest(everything), "count": count}}


def _facts(request: Request, log_time: datetime) -> dict[str, Any]:
    data = request.data
    fields = {
        "v": ENTRY_VERSION,
        "event_id": request.event_id,
        "correlation": request.correlation,
        "action": data.action,
        "outcome": data.outcome,
        "service": data.service,
        "operator": data.operator,
        "authenticated_by": data.authenticated_by,
        "model": data.model,
        "resource": data.resource,
        "reason": data.reason,
        "cause": _cause(data.cause),
        "event_time": rfc3339(data.occurred_at),
        "log_time": rfc3339(log_time),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _cause(cause: Cause) -> dict[str, Any]:
    fields = {
        "kind": cause.kind,
        "id": cause.id,
        "topic": cause.topic,
        "partition": cause.partition,
        "offset": cause.offset,
        "sha256": cause.sha256,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _change(change: Change, limit: int | None) -> dict[str, Any]:
    fields: dict[str, Any] = {"path": change.path}
    for side, value in (("before", change.before), ("after", change.after)):
        if value is not None:
            fields[side] = value if limit is None else _bounded(value, limit)
    return fields


def _bounded(value: Any, limit: int) -> Any:
    """The value, or its digest. A value that looks like a digest is digested too: the form has one meaning."""
    if _widest(value) <= limit:
        return value  # small whatever its characters are: spares the common values the work of writing them out
    text = canonical_json(value)
    looks_like_digest = isinstance(value, dict) and value.keys() == _DIGEST_MEMBERS
    return _digest(text) if len(text) > limit or looks_like_digest else value


def _widest(value: Any) -> float:
    """Bytes that a value's canonical JSON has at most; infinite where that is not seen at a glance."""
    if isinstance(value, str):
        return 6 * len(value) + 2
    if isinstance(value, (bool, int, float)):
        return 32
    if not isinstance(value, dict) or value.keys() == _DIGEST_MEMBERS:
        return inf
    members = value.values()
    if not all(one is None or isinstance(one, (str, bool, int, float)) for one in members):
        return inf
    return 2 + sum(
        6 * len(name) + 4 + (6 * len(one) + 2 if isinstance(one, str) else 32) for name, one in value.items()
    )


def _digest(text: bytes) -> dict[str, Any]:
    return {"value_sha256": sha256_hex(text), "value_size": len(text)}
