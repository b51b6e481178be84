"""The ledger of deliveries in Postgres: what is due, what was tried, what came of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from uuid import UUID

from muniment.contracts.errors import Conflict, NotFound, Rejected
from muniment.notifier.channels import Message
from muniment.notifier.schedule import Attempt, Verdict
from muniment.notifier.store import SQL
from muniment.notifier.timing import QuietHours, timing_of

if TYPE_CHECKING:
    import asyncpg

    from muniment.runtime.delivery.transaction import Connection

    Pool = asyncpg.Pool[asyncpg.Record]

_ROWS_AT_ONCE: Final = 5_000
ATTEMPTS_SHOWN: Final = 20
_LISTS: Final = {
    None: "list_deliveries",
    "pending": "list_pending",
    "delivered": "list_delivered",
    "dead": "list_dead",
    "gathered": "list_gathered",
}
DeliveryState = Literal["gathered", "pending", "delivered", "dead"]


@dataclass(frozen=True, slots=True)
class Lane:
    """A subscription that is degraded, or has something to deliver now or soon (`due_in_s`)."""

    subscription_id: UUID
    degraded: bool
    failing: bool
    due_in_s: float | None


class Job(NamedTuple):
    """A leased delivery. `epoch` is the fence: only its holder may settle it."""

    epoch: int
    tries: int
    """Attempts since the schedule began, this one included."""
    channel: str
    degraded: bool
    message: Message
    digest: bool = False
    """It tells of what was gathered."""
    quiet_hours: QuietHours | None = None


class Outcome(NamedTuple):
    """What an attempt gave, and what follows."""

    job: Job
    attempt: Attempt
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class HealthChange:
    """A subscription fails for long now (`failing`), or has recovered. `trouble`: what the last attempt gave."""

    subscription_id: UUID
    name: str
    failing: bool
    trouble: str | None


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A row to be: the delivery of one event to one subscription."""

    id: UUID
    subscription_id: UUID
    event_seq: int
    gathered_until: datetime | None = None
    """When the digest is due that will tell of it; None: it is told by itself, at once."""


class NewEvent(NamedTuple):
    """A row of the feed to be, and its event's row of the inbox."""

    key: UUID
    inbox_key: UUID
    digest: bytes
    type: str
    model: str | None
    body: str


class NewLeasable(NamedTuple):
    """A delivery to be of an event that has no number yet. `leased`: who makes it wants to make its first attempt."""

    id: UUID
    subscription_id: UUID
    event_key: UUID
    gathered_until: datetime | None
    leased: bool


class Announced(NamedTuple):
    """The inbox keys that were known before, and the deliveries that were leased."""

    known: Collection[UUID]
    jobs: Sequence[Job]


async def announce(
    pool: Pool,
    version: int,
    events: Sequence[NewEvent],
    deliveries: Sequence[NewLeasable],
    lease_s: float,
    now: datetime,
) -> Announced | None:
    """Claim, store and number events, in this order, and make their deliveries: one statement, one transaction.

    An event that came before is left alone, with all its deliveries; what goes to a degraded endpoint is not leased.
    None, and nothing was done, if the subscriptions are no longer those of `version`.
    """
    rows = await pool.fetch(
        SQL["announce"],
        version,
        now,
        lease_s,
        *_columns(events, len(NewEvent._fields)),
        *_columns(deliveries, len(NewLeasable._fields)),
    )
    if rows[0]["subscriptions_version"] != version:
        return None
    bodies = {event.key: event.body for event in events}
    jobs = [_job(row, bodies[row["event_key"]]) for row in rows if row["id"] is not None]
    return Announced({event.inbox_key for event in events}.difference(rows[0]["claimed"] or ()), jobs)


def _columns(rows: Sequence[tuple[Any, ...]], count: int) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) or [()] * count


async def add(connection: Connection, deliveries: Iterable[NewDelivery]) -> int:
    """Insert deliveries; known ones stay as they are. Returns how many were new."""
    rows = iter(deliveries)
    new = 0
    while chunk := list(islice(rows, _ROWS_AT_ONCE)):
        status = await connection.execute(
            SQL["insert_deliveries"],
            [row.id for row in chunk],
            [row.subscription_id for row in chunk],
            [row.event_seq for row in chunk],
            [row.gathered_until for row in chunk],
        )
        new += int(status.rpartition(" ")[2])
    return new


@lru_cache(maxsize=1024)
def _config(text: str) -> Mapping[str, Any]:
    """A subscription's settings: the same text for each of its deliveries. Whoever gets them changes nothing."""
    return MappingProxyType(json.loads(text))


def _job(row: asyncpg.Record, body: str) -> Job:
    return Job(
        epoch=row["lease_epoch"],
        tries=row["tries"],
        channel=row["channel"],
        degraded=row["degraded"],
        digest=row["is_digest"],
        quiet_hours=_quiet_hours(row["timing"]),
        message=Message(
            delivery_id=row["id"],
            subscription_id=row["subscription_id"],
            config=_config(row["config"]),
            body=body,
            secrets=tuple(row["secrets"]),
        ),
    )


@dataclass(frozen=True, slots=True)
class Ledger:
    """The worker's side: lanes, leases, outcomes."""

    pool: Pool

    async def lanes(self, horizon_s: float) -> Sequence[Lane]:
        """Active subscriptions that are degraded or have something due within the horizon.

        One index probe for each subscription that has something pending, however long its backlog is.
        """
        rows = await self.pool.fetch(SQL["due_lanes"], horizon_s)
        return [Lane(row["id"], row["degraded"], row["failing"], row["due_in_s"]) for row in rows]

    async def lease(self, wanted: Mapping[UUID, int], lease_s: float) -> Sequence[Job]:
        """At most so many due deliveries of each subscription (one of a degraded one), due again after the lease."""
        rows = await self.pool.fetch(SQL["lease"], list(wanted), list(wanted.values()), lease_s)
        return [_job(row, row["body"]) for row in rows]

    async def renew(self, held: Mapping[UUID, int], lease_s: float) -> None:
        """Hold leased deliveries (id: epoch) so much longer from now. One that has been settled stays as it is."""
        await self.pool.execute(SQL["renew"], list(held), list(held.values()), lease_s)

    async def postpone(self, job: Job, until: datetime) -> None:
        """Put a leased delivery off without an attempt."""
        await self.pool.execute(SQL["postpone"], job.message.delivery_id, job.epoch, until)


def is_plain(outcome: Outcome) -> bool:
    """Whether all that follows is in its delivery's own row: it arrived, is no digest, and its endpoint is well."""
    return outcome.attempt.trouble is None and not outcome.job.degraded and not outcome.job.digest


async def settle_plain(pool: Pool, outcomes: Sequence[Outcome]) -> None:
    """Record attempts that are all plain: one statement, which is its own transaction."""
    await pool.execute(SQL["settle"], *_outcome_columns(outcomes))


async def settle(connection: Connection, outcomes: Sequence[Outcome], failing_after_s: float) -> list[HealthChange]:
    """Record attempts and their consequences, in a transaction. An outcome whose lease has passed on is only recorded.

    Returns the subscriptions that have now failed for `failing_after_s` without a success between, and those that
    had and are well again.
    """
    settled = await connection.fetch(SQL["settle"], *_outcome_columns(outcomes))
    if digests := {outcome.job.message.delivery_id for outcome in outcomes if outcome.job.digest}:
        await connection.execute(SQL["settle_gathered"], [row["id"] for row in settled if row["id"] in digests])
    health = {
        outcome.job.message.subscription_id: outcome.attempt
        for outcome in outcomes
        if outcome.attempt.trouble or outcome.job.degraded
    }
    if not health:
        return []
    ordered = sorted(health.items())  # one order for all processes, so that none waits in a circle
    rows = await connection.fetch(
        SQL["set_health"],
        [key for key, _ in ordered],
        [attempt.trouble for _, attempt in ordered],
        [not attempt.delivered for _, attempt in ordered],
        failing_after_s,
    )
    return [
        HealthChange(row["id"], row["name"], row["failing_since"] is not None, row["trouble"])
        for row in rows
        if (row["failing_since"] is None) != (row["failing_before"] is None)
    ]


def _quiet_hours(timing: str) -> QuietHours | None:
    try:
        return None if timing == "{}" else timing_of(json.loads(timing)).quiet_hours
    except (Rejected, ValueError):  # a zone that is not known here: better told than lost
        return None


def _outcome_columns(outcomes: Sequence[Outcome]) -> tuple[list[Any], ...]:
    attempts = [outcome.attempt for outcome in outcomes]
    return (
        [outcome.job.message.delivery_id for outcome in outcomes],
        [outcome.job.epoch for outcome in outcomes],
        [outcome.verdict.state for outcome in outcomes],
        [outcome.verdict.delay_s for outcome in outcomes],
        [attempt.started_at for attempt in attempts],
        [attempt.status for attempt in attempts],
        [attempt.latency_ms for attempt in attempts],
        [attempt.error for attempt in attempts],
        [attempt.detail for attempt in attempts],
        [attempt.excerpt for attempt in attempts],
        [attempt.request_sha256 for attempt in attempts],
    )


_ATTEMPT_FIELDS: Final = ("started_at", "latency_ms", "status", "error", "detail", "excerpt", "request_sha256")


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """A delivery as people look at it, with its latest attempts (`number` counts leases)."""

    id: UUID
    event_seq: int
    type: str
    model: str | None
    state: DeliveryState
    due_at: datetime
    created_at: datetime
    finished_at: datetime | None
    digest_id: UUID | None
    attempts: tuple[tuple[int, Attempt], ...]


async def page(
    pool: Pool,
    subscription_id: UUID,
    *,
    before: tuple[int, UUID] | None,
    state: DeliveryState | None,
    limit: int,
) -> Sequence[DeliveryRecord]:
    """A subscription's deliveries, newest event first."""
    before_seq, before_id = before or (None, None)
    rows = await pool.fetch(SQL[_LISTS[state]], subscription_id, before_seq, before_id, limit)
    attempts: dict[UUID, list[tuple[int, Attempt]]] = {row["id"]: [] for row in rows}
    for row in await pool.fetch(SQL["attempts_of"], list(attempts), ATTEMPTS_SHOWN):
        attempts[row["delivery_id"]].append((row["number"], Attempt(**{name: row[name] for name in _ATTEMPT_FIELDS})))
    return [DeliveryRecord(**dict(row), attempts=tuple(attempts[row["id"]])) for row in rows]


async def retry(connection: Connection, delivery_id: UUID) -> UUID:
    """Make a pending or dead delivery due now, its schedule begun anew; returns its subscription's id.

    Raises `NotFound` (`delivery_unknown`) and `Conflict` (`delivery_done`, `delivery_gathered`,
    `subscription_inactive`).
    """
    row = await connection.fetchrow(SQL["lock_delivery"], delivery_id)
    if row is None:
        raise NotFound("delivery_unknown", "there is no such delivery", actual=str(delivery_id))
    if row["state"] == "delivered":
        raise Conflict("delivery_done", "the delivery has arrived", expected="pending or dead", actual="delivered")
    if row["state"] == "gathered":
        raise Conflict(
            "delivery_gathered",
            "the delivery waits for its digest",
            expected="pending or dead",
            actual="gathered",
            hint="a change of the subscription's digest or quiet hours sends what it has gathered",
        )
    check_active(row["subscription_state"])
    await connection.execute(SQL["retry_delivery"], delivery_id)
    subscription_id: UUID = row["subscription_id"]
    return subscription_id


def check_active(state: str) -> None:
    """Raises `Conflict` (`subscription_inactive`) unless the subscription's state is `active`."""
    if state != "active":
        raise Conflict(
            "subscription_inactive",
            "the subscription does not deliver",
            expected="active",
            actual=state,
            hint="give it another expiry first" if state == "expired" else "resume it first",
        )
