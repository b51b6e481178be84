"""Preview and replay: what a filter would have matched, and past events of a subscription delivered once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import asyncpg
from pydantic import BaseModel, Field, StrictBool, StrictInt, model_validator

from muniment.contracts.model import Payload, Timestamp, Word
from muniment.notifier import ledger
from muniment.notifier.domain import FILTER_FIELDS, MAX_WISHES, delivery_id, filter_of
from muniment.notifier.feed import FeedItem
from muniment.notifier.ledger import NewDelivery
from muniment.notifier.look_back import Past, Start, look_back, start_after, start_at
from muniment.notifier.store import SQL, Subscription
from muniment.notifier.views import EventSeen, event_seen

if TYPE_CHECKING:
    from datetime import datetime

    from muniment.runtime.delivery.transaction import Connection, Tx

    Pool = asyncpg.Pool[asyncpg.Record]

_STEPS: Final = 10
"""Statements of one preview; then its cursor goes back to the caller, who asks again from there."""
_EVENTS: Final = 1_000
"""Events that one replay's transaction takes up."""
_MAX_DAYS: Final = 366

Cursor = Annotated[StrictInt, Field(ge=0, le=2**63 - 1)]
Types = Annotated[tuple[Word, ...], Field(max_length=50)]
Wishes = Annotated[tuple[Word, ...], Field(max_length=MAX_WISHES)]
"""Tags (`KEY`, `KEY=VALUE`) or conditions on metrics (`accuracy >= 0.95`), all of which must be met."""


class PreviewWanted(Payload):
    """A filter, and how far back to look: so many days, or from a cursor on (`after`, of the page before)."""

    types: Types = ()
    model: Word | None = None
    branch: Word | None = None
    stability: Word | None = None
    track: Word | None = None
    tags: Wishes = ()
    metrics: Wishes = ()
    days: Annotated[StrictInt, Field(ge=1, le=_MAX_DAYS)] = 30
    after: Cursor | None = None
    limit: Annotated[StrictInt, Field(ge=1, le=1000)] = 100


class PreviewPage(BaseModel):
    """Events that the filter matches, oldest first. Ask again with `after`: `cursor`, until it is `complete`."""

    items: list[EventSeen]
    cursor: int
    complete: bool
    pruned: bool
    """Events after the start that was asked for are no longer kept."""


class ReplayWanted(Payload):
    """From a time (`since`), or from after a cursor (0: the oldest event kept). `force`: also what has arrived."""

    since: Timestamp | None = None
    after: Cursor | None = None
    force: StrictBool = False

    @model_validator(mode="after")
    def _one_start(self) -> ReplayWanted:
        if (self.since is None) == (self.after is None):
            raise ValueError("replay_start: give one of since (a time) and after (a cursor)")
        return self


class ReplaySeen(BaseModel):
    """What one step of a replay did. Ask again with `after`: `cursor`, until it is `complete`.

    `queued` events had no delivery to the subscription and have one now; `again` are dead deliveries, and forced ones
    that had arrived, that go out anew under the id they had; `kept` are left as they are: arrived, or on their way.
    """

    queued: int
    again: int
    kept: int
    cursor: int
    complete: bool
    pruned: bool
    """Events after the start that was asked for are no longer kept."""


async def preview(pool: Pool, wanted: PreviewWanted, now_minus_days: datetime) -> PreviewPage:
    """A page of what the filter would have matched. Raises `Rejected` (`filter_invalid`)."""
    accepted = filter_of(wanted.model_dump(include=set(FILTER_FIELDS)))
    start = await _start(pool, now_minus_days if wanted.after is None else None, wanted.after)
    found: list[Past] = []
    cursor, complete = start.cursor, False
    for _ in range(_STEPS):
        stretch = await look_back(pool, accepted, cursor, wanted.limit - len(found))
        found += stretch.items
        cursor, complete = stretch.cursor, stretch.complete
        if complete or len(found) == wanted.limit:
            break
    items = [event_seen(FeedItem(past.cursor, dict(past.event))) for past in found]
    return PreviewPage(items=items, cursor=cursor, complete=complete, pruned=start.pruned)


async def replay(tx: Tx, subscription: Subscription, wanted: ReplayWanted) -> ReplaySeen:
    """One step of a replay to a subscription that is held against changes.

    Each event has its one delivery with its one id, whether it is made now or was there. Raises `Conflict`
    (`subscription_inactive`).
    """
    ledger.check_active(subscription.state_at(tx.now))
    start = await _start(tx.connection, wanted.since, wanted.after)
    stretch = await look_back(tx.connection, subscription.filter, start.cursor, _EVENTS)
    queued, again = await _queue(tx, subscription, stretch.items, force=wanted.force)
    return ReplaySeen(
        queued=queued,
        again=again,
        kept=len(stretch.items) - queued - again,
        cursor=stretch.cursor,
        complete=stretch.complete,
        pruned=start.pruned,
    )


async def _queue(tx: Tx, subscription: Subscription, events: Sequence[Past], *, force: bool) -> tuple[int, int]:
    until = subscription.timing.gathered_until(tx.now)
    rows = [NewDelivery(delivery_id(subscription.id, past.key), subscription.id, past.cursor, until) for past in events]
    status = await tx.connection.execute(SQL["replay_known"], [row.id for row in rows], force, until)
    return await ledger.add(tx.connection, rows), int(status.rpartition(" ")[2])


async def _start(pool: Pool | Connection, since: datetime | None, after: int | None) -> Start:
    if after is not None:
        return await start_after(pool, after)
    assert since is not None  # noqa: S101  # reason: the payloads see to it
    return await start_at(pool, since)


def replay_facts(seen: ReplaySeen, wanted: ReplayWanted) -> dict[str, Any]:
    """What the audit entry says of a step."""
    return {**seen.model_dump(include={"queued", "again", "kept", "cursor"}), "force": wanted.force}
