"""Subscriptions in Postgres. Every change takes the feed's lock, so that each event meets one definite set of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg
import structlog

from muniment.contracts.errors import Conflict, NotFound, Rejected
from muniment.notifier.domain import Filter, FilterSet, filter_of
from muniment.notifier.timing import Timing, timing_of
from muniment.runtime.sql import load_queries

if TYPE_CHECKING:
    from muniment.runtime.delivery.transaction import Connection

    Pool = asyncpg.Pool[asyncpg.Record]

SQL: Final = load_queries("muniment.notifier")
MAX_SUBSCRIPTIONS: Final = 20_000
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription as it is stored. Its secrets are not part of it."""

    id: UUID
    name: str
    channel: str
    config: Mapping[str, Any]
    filter: Filter
    state: str
    reason: str | None
    owner: str
    version: int
    degraded_since: datetime | None
    degraded_reason: str | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    timing: Timing
    failed_since: datetime | None
    failing_since: datetime | None

    def state_at(self, moment: datetime) -> str:
        """Its state, which is `expired` from that time on, whether that has been written down or not."""
        over = self.expires_at is not None and self.expires_at <= moment and self.state in ("active", "paused")
        return "expired" if over else self.state


@dataclass(frozen=True, slots=True)
class Recipient:
    """What an event needs to know of a subscription that wants it."""

    id: UUID
    timing: Timing
    expires_at: datetime | None


class Room:
    """Whether one more subscription may be. Kept by a process, it counts them only when there could be too many.

    Each new one raises the set's version by one, so there are never more than were counted at some version, and one for
    each version since. Only deletions make it count too many; then it counts anew.
    """

    def __init__(self, limit: int = MAX_SUBSCRIPTIONS) -> None:
        self._limit = limit
        self._at_most: int | None = None
        self._version = 0

    async def check(self, connection: Connection, version: int) -> None:
        """Raises `Conflict` (`subscription_limit`). `version` is the set's, just raised, its row locked."""
        if self._at_most is not None and 0 <= version - self._version < self._limit - self._at_most:
            return
        count: int = await connection.fetchval(SQL["count_subscriptions"])
        self._at_most, self._version = count, version
        if count >= self._limit:
            raise Conflict(
                "subscription_limit", "there are too many subscriptions", expected=f"<= {self._limit}", actual=count
            )


def _subscription(row: asyncpg.Record) -> Subscription:
    """One whose wishes cannot be read is shown as what it is: no event meets it, until they are given anew."""
    fields = {**row, "config": json.loads(row["config"]), "filter": Filter(), "timing": Timing()}
    try:
        fields["filter"] = filter_of(json.loads(row["filter"]))
        fields["timing"] = timing_of(json.loads(row["timing"]))
    except (Rejected, ValueError) as error:
        fields |= {"state": "disabled", "reason": f"it cannot be read: {error}"[:1000]}
    return Subscription(**fields)


async def load_filters(connection: Connection) -> FilterSet[Recipient]:
    """The filters of all active subscriptions. One that cannot be read is left out and told, the others hold.

    Each change of one reads them all again; what they say is parsed only where it is new: with ten thousand of them the
    process would do nothing else for a third of a second.
    """
    filters = []
    for row in await connection.fetch(SQL["active_filters"]):
        try:
            recipient = Recipient(row["id"], _timing(row["timing"]), row["expires_at"])
            filters.append((recipient, _filter(row["filter"])))
        except (Rejected, ValueError, TypeError) as error:
            log.warning("subscription left out", subscription=str(row["id"]), error=str(error))
    return FilterSet.of(filters)


@lru_cache(maxsize=MAX_SUBSCRIPTIONS)
def _filter(text: str) -> Filter:
    return filter_of(json.loads(text))


@lru_cache(maxsize=1024)
def _timing(text: str) -> Timing:
    return timing_of(json.loads(text))


async def create(
    connection: Connection,
    *,
    subscription_id: UUID,
    name: str,
    channel: str,
    config: Mapping[str, Any],
    wanted: Filter,
    owner: str,
    sealed_secret: bytes | None,
    public_key: str | None = None,
    now: datetime,
    timing: Timing = Timing(),  # noqa: B008  # reason: frozen
    expires_at: datetime | None = None,
    room: Room | None = None,
) -> Subscription:
    """Store a new subscription, with the public half of its secret where there is one.

    Raises `Conflict` (`subscription_exists`, `subscription_limit`).
    """
    version = await connection.fetchval(SQL["bump_subscriptions"])
    await (room or Room()).check(connection, version)
    row = await connection.fetchrow(
        SQL["insert_subscription"],
        subscription_id,
        name,
        channel,
        json.dumps(dict(config)),
        json.dumps(wanted.fields()),
        owner,
        now,
        _timing_json(timing),
        expires_at,
    )
    if row is None:
        raise _taken(name)
    if sealed_secret is not None:
        await connection.execute(SQL["insert_secret"], subscription_id, sealed_secret, now, public_key)
    return _subscription(row)


async def get(connection: Connection | Pool, subscription_id: UUID) -> Subscription:
    """The subscription. Raises `NotFound` (`subscription_unknown`)."""
    return _found(await connection.fetchrow(SQL["get_subscription"], subscription_id), subscription_id)


async def lock(connection: Connection, subscription_id: UUID) -> Subscription:
    """The subscription, locked against other changes together with the whole set. Raises `NotFound`."""
    await connection.execute(SQL["bump_subscriptions"])
    return _found(await connection.fetchrow(SQL["lock_subscription"], subscription_id), subscription_id)


async def hold(connection: Connection, subscription_id: UUID) -> Subscription:
    """The subscription, held against changes of it alone: events go on meeting it. Raises `NotFound`."""
    return _found(await connection.fetchrow(SQL["hold_subscription"], subscription_id), subscription_id)


async def page(pool: Pool, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[Subscription]:
    """Subscriptions, newest first, after the given place."""
    created_at, last = after or (None, None)
    return [_subscription(row) for row in await pool.fetch(SQL["list_subscriptions"], created_at, last, limit)]


async def update(connection: Connection, changed: Subscription, now: datetime) -> Subscription:
    """Store the changed fields of a locked subscription. Raises `Conflict` (`subscription_exists`)."""
    try:
        row = await connection.fetchrow(
            SQL["update_subscription"],
            changed.id,
            changed.name,
            json.dumps(dict(changed.config)),
            json.dumps(changed.filter.fields()),
            changed.state,
            changed.reason,
            now,
            _timing_json(changed.timing),
            changed.expires_at,
            changed.owner,
        )
    except asyncpg.UniqueViolationError as error:
        raise _taken(changed.name) from error
    return _found(row, changed.id)


async def delete(connection: Connection, subscription_id: UUID, now: datetime) -> None:
    """Remove a locked subscription: it and its secrets are gone at once, its ledger goes with the next pruning."""
    await connection.execute(SQL["delete_subscription"], subscription_id, now)
    await connection.execute(SQL["delete_secrets"], subscription_id)


async def disable(connection: Connection, subscription_id: UUID, reason: str, now: datetime) -> Subscription | None:
    """Disable an active subscription; None when it no longer is active."""
    await connection.execute(SQL["bump_subscriptions"])
    row = await connection.fetchrow(SQL["disable_subscription"], subscription_id, reason, now)
    return None if row is None else _subscription(row)


async def expire(connection: Connection, now: datetime) -> Sequence[Subscription]:
    """Mark those whose time has come, and return them."""
    await connection.execute(SQL["bump_subscriptions"])
    return [_subscription(row) for row in await connection.fetch(SQL["expire_subscriptions"], now)]


async def rotate(
    connection: Connection,
    subscription_id: UUID,
    sealed_secret: bytes,
    *,
    public_key: str | None = None,
    now: datetime,
    old_until: datetime,
) -> None:
    """Add a new secret; the last one stays live until `old_until`, earlier ones go."""
    await connection.execute(SQL["expire_secrets"], subscription_id, old_until)
    await connection.execute(SQL["insert_secret"], subscription_id, sealed_secret, now, public_key)


async def public_keys(pool: Pool, subscriptions: Sequence[Subscription]) -> dict[UUID, list[str]]:
    """The public keys that verify now, newest first, of those subscriptions that have any."""
    keys: dict[UUID, list[str]] = {}
    if signing := [one.id for one in subscriptions if one.config.get("signing") == "ed25519"]:
        for row in await pool.fetch(SQL["public_keys"], signing):
            keys.setdefault(row["subscription_id"], []).append(row["public_key"])
    return keys


async def live_secrets(pool: Pool, subscription_id: UUID) -> tuple[bytes, ...]:
    """The sealed secrets that sign now, newest first."""
    return tuple(row["sealed"] for row in await pool.fetch(SQL["live_secrets"], subscription_id))


def _timing_json(timing: Timing) -> str:
    return json.dumps({name: value for name, value in timing.fields().items() if value is not None})


def _found(row: asyncpg.Record | None, subscription_id: UUID) -> Subscription:
    if row is None:
        raise NotFound("subscription_unknown", "there is no such subscription", actual=str(subscription_id))
    return _subscription(row)


def _taken(name: str) -> Conflict:
    return Conflict(
        "subscription_exists",
        f"a subscription is called {name!r} already",
        expected="a name of its own, whatever the case",
        hint="change that one, or choose another name",
    )
