"""What a digest says: the events that were gathered, as one CloudEvent. Pure."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from muniment.contracts import topics
from muniment.contracts.cloudevent import CloudEvent
from muniment.contracts.model import rfc3339
from muniment.notifier.channels.notice import notice_of
from muniment.notifier.domain import structured_json

DIGEST_TYPE: Final = "muniment.digest.v1"
MAX_LISTED: Final = 100
"""Entries of one digest; what is beyond is counted."""
_MAX_TEXT: Final = 300
_MAX_FIELDS: Final = 20
_NAMESPACE: Final = uuid.UUID("c5f7a3de-6a4e-5d0c-8a53-0c4c7a0b3c11")


@dataclass(frozen=True, slots=True)
class Gathered:
    """A delivery that waits for its digest."""

    id: uuid.UUID
    cursor: int
    type: str
    model: str | None
    event: Mapping[str, Any] | None
    """The CloudEvent in structured JSON; None where it is too large, or too far back."""


def digest_id(subscription: uuid.UUID, members: Sequence[Gathered], due_at: datetime) -> uuid.UUID:
    """The digest's id, its `webhook-id` over all attempts: made from what it tells of, and when that was due."""
    ids = "".join(str(member.id) for member in members)
    return uuid.uuid5(_NAMESPACE, f"{subscription}{rfc3339(due_at)}{hashlib.sha256(ids.encode()).hexdigest()}")


def digest_body(
    digest: uuid.UUID, subscription: uuid.UUID, name: str, members: Sequence[Gathered], now: datetime
) -> str:
    """The CloudEvent `muniment.digest.v1` in structured JSON, of gathered deliveries in the feed's order.

    `count` is how many events it tells of, `events` lists the newest of them in order: their names, the `title` that
    people are told, and of their data the plain fields. Of divergences of one model, metric, slice and data set only
    the last is listed; its `repeated` says how many more there were. `unlisted` are those for which there was no place.
    """
    entries = _folded(members)
    listed = entries[-MAX_LISTED:]
    told = sum(1 + entry.get("repeated", 0) for entry in listed)
    kinds = Counter(member.type for member in members)
    data = {
        "subscription": str(subscription),
        "name": name,
        "count": len(members),
        "title": f"{len(members)} event{'' if len(members) == 1 else 's'} for {name}",
        "message": ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())),
        "from_cursor": members[0].cursor,
        "through_cursor": members[-1].cursor,
        "events": listed,
        "unlisted": len(members) - told,
    }
    event = CloudEvent(
        id=str(digest),
        source="/muniment/notifier",
        type=DIGEST_TYPE,
        data=json.dumps(data, ensure_ascii=False).encode("utf-8", errors="replace"),
        time=rfc3339(now),
    )
    return structured_json(event)


def alert_key(topic: str, data: Mapping[str, Any]) -> str | None:
    """What makes alerts the same one; None where the event is no alert that can flap."""
    if topic != topics.BASELINE_DIVERGED.name:
        return None
    parts = [str(data.get("model")).lower(), *(data.get(name) for name in ("metric", "slice", "dataset"))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _folded(members: Iterable[Gathered]) -> list[dict[str, Any]]:
    """An entry a member, those of one alert folded into its last."""
    entries: dict[str, dict[str, Any]] = {}
    for member in members:
        entry = _entry(member)
        key = alert_key(member.type, member.event["data"]) if member.event else None
        if key is not None and (before := entries.pop(key, None)) is not None:
            entry["repeated"] = before.get("repeated", 0) + 1
        entries[key or str(member.cursor)] = entry
    return list(entries.values())


def _entry(member: Gathered) -> dict[str, Any]:
    known = {"cursor": member.cursor, "type": member.type, "model": member.model}
    if member.event is None:
        return {**known, "title": member.type if member.model is None else f"{member.model}: {member.type}"}
    known["title"] = notice_of(member.event).title
    data = member.event.get("data") or {}
    plain = [(name, value) for name, value in data.items() if isinstance(value, str | int | float)]
    short = {name: value[:_MAX_TEXT] if isinstance(value, str) else value for name, value in plain[:_MAX_FIELDS]}
    return {**known, "id": member.event.get("id"), "time": member.event.get("time"), "data": short}
