"""The ledger of deliveries in Postgres: what is due, what was tried, what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from muniment.contracts.errors import Conflict, NotFound
from muniment.notifier.channels import Message
from muniment.notifier.schedule import Attempt, State, Verdict
from muniment.notifier.store import SQL

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
}


@dataclass(frozen=True, slots=True)
class Lane:
    """A subscription that is degraded, or has something to deliver now or soon (`due_in_s`)."""

    subscription_id: UUID
    degraded: bool
    due_in_s: float | None


@dataclass(frozen=True, slots=True)
class Job:
    """A leased delivery. `epoch` is the fence: only its holder may settle it."""

    epoch: int
    tries: int
    """Attempts since the schedule began, this one included."""
    channel: str
    degraded: bool
    message: Message


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt gave, and what follows."""

    job: Job
    attempt: Attempt
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A row to be: the delivery of one event to one subscription."""

    id: UUID
    subscription_id: UUID
    event_seq: int


async def add(connection: Connection, deliveries: Iterable[NewDelivery]) -> None:
    """Insert deliveries that are due at once; known ones stay as they are."""
    rows = iter(deliveries)
    while chunk := list(islice(rows, _ROWS_AT_ONCE)):
        await connection.execute(
            SQL["insert_deliveries"],
            [row.id for row in chunk],
            [row.subscription_id for row in chunk],
            [row.event_seq for row in chunk],
        )


@dataclass(frozen=True, slots=True)
class Ledger:
    """The worker's side: lanes, leases, outcomes."""

    pool: Pool

    async def lanes(self, horizon_s: float) -> Sequence[Lane]:
        """Active subscriptions that are degraded or have something due within the horizon.

        One index probe for each subscription, however long its backlog is.
        """
        rows = await self.pool.fetch(SQL["due_lanes"], horizon_s)
        return [Lane(row["id"], row["degraded"], row["due_in_s"]) for row in rows]

    async def lease(self, wanted: Mapping[UUID, int], lease_s: float) -> Sequence[Job]:
        """At most so many due deliveries of each subscription (one of a degraded one), due again after the lease."""
        rows = await self.pool.fetch(SQL["lease"], list(wanted), list(wanted.values()), lease_s)
        return [
            Job(
                epoch=row["lease_epoch"],
                tries=row["tries"],
                channel=row["channel"],
                degraded=row["degraded"],
                message=Message(
                    delivery_id=row["id"],
                    subscription_id=row["subscription_id"],
                    config=json.loads(row["config"]),
                    body=row["body"],
                    secrets=tuple(row["secrets"]),
                ),
            )
            for row in rows
        ]

    async def renew(self, held: Mapping[UUID, int], lease_s: float) -> None:
        """Hold leased deliveries (id: epoch) so much longer from now. One that has been settled stays as it is."""
        await self.pool.execute(SQL["renew"], list(held), list(held.values()), lease_s)

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Record attempts and their consequences. An outcome whose lease has passed to another is only recorded."""
        health = {
            outcome.job.message.subscription_id: outcome.attempt.trouble
            for outcome in outcomes
            if outcome.attempt.trouble or outcome.job.degraded
        }
        async with self.pool.acquire(timeout=30) as connection, connection.transaction():
            await connection.execute(SQL["insert_attempts"], *_attempt_columns(outcomes))
            await connection.execute(
                SQL["settle"],
                [outcome.job.message.delivery_id for outcome in outcomes],
                [outcome.job.epoch for outcome in outcomes],
                [outcome.verdict.state for outcome in outcomes],
                [outcome.verdict.delay_s for outcome in outcomes],
            )
            if health:
                ordered = sorted(health.items())  # one order for all processes, so that none waits in a circle
                await connection.execute(SQL["set_health"], [key for key, _ in ordered], [why for _, why in ordered])


def _attempt_columns(outcomes: Sequence[Outcome]) -> tuple[list[Any], ...]:
    attempts = [outcome.attempt for outcome in outcomes]
    return (
        [outcome.job.message.delivery_id for outcome in outcomes],
        [outcome.job.epoch for outcome in outcomes],
        [attempt.started_at for attempt in attempts],
        [attempt.status for attempt in attempts],
        [attempt.latency_ms for attempt in attempts],
        [attempt.error for attempt in attempts],
        [attempt.detail for attempt in attempts],
        [attempt.excerpt for attempt in attempts],
    )


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """A delivery as people look at it, with its latest attempts (`number` counts leases)."""

    id: UUID
    event_seq: int
    type: str
    model: str | None
    state: str
    due_at: datetime
    created_at: datetime
    finished_at: datetime | None
    attempts: tuple[tuple[int, Attempt], ...]


async def page(
    pool: Pool, subscription_id: UUID, *, before_seq: int | None, state: State | None, limit: int
) -> Sequence[DeliveryRecord]:
    """A subscription's deliveries, newest event first."""
    rows = await pool.fetch(SQL[_LISTS[state]], subscription_id, before_seq, limit)
    attempts: dict[UUID, list[tuple[int, Attempt]]] = {row["id"]: [] for row in rows}
    for row in await pool.fetch(SQL["attempts_of"], list(attempts), ATTEMPTS_SHOWN):
        fields = {name: row[name] for name in ("started_at", "latency_ms", "status", "error", "detail", "excerpt")}
        attempts[row["delivery_id"]].append((row["number"], Attempt(**fields)))
    return [DeliveryRecord(**dict(row), attempts=tuple(attempts[row["id"]])) for row in rows]


async def retry(connection: Connection, delivery_id: UUID) -> UUID:
    """Make a pending or dead delivery due now, its schedule begun anew; returns its subscription's id.

    Raises `NotFound` (`delivery_unknown`) and `Conflict` (`delivery_done`, `subscription_inactive`).
    """
    row = await connection.fetchrow(SQL["lock_delivery"], delivery_id)
    if row is None:
        raise NotFound("delivery_unknown", "there is no such delivery", actual=str(delivery_id))
    if row["state"] == "delivered":
        raise Conflict("delivery_done", "the delivery has arrived", expected="pending or dead", actual="delivered")
    if row["subscription_state"] != "active":
        raise Conflict(
            "subscription_inactive",
            "the subscription does not deliver",
            expected="active",
            actual=row["subscription_state"],
            hint="resume it first",
        )
    await connection.execute(SQL["retry_delivery"], delivery_id)
    subscription_id: UUID = row["subscription_id"]
    return subscription_id
