"""Many endpoints on real sockets of which some hang: the others do not notice, and nothing piles up in memory."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import asyncpg

from muniment.notifier.ledger import Ledger
from muniment.notifier.store import SQL

from .conftest import PACE, Notifier, available
from .receiver import Received, Receiver, answer

ENDPOINTS, EVENTS, HANGING = 300, 4, 3


async def test_hanging_endpoints_delay_nobody_else(notifier: Notifier) -> None:
    hung = asyncio.Event()

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        if "hang" in received.line:
            hung.set()
            await asyncio.Event().wait()
        await answer(204)(received, writer)

    patient = dataclasses.replace(PACE, timeout_s=60.0)
    async with Receiver(behaviour=behave) as receiver, notifier.running(patient) as running:
        for _ in range(HANGING):
            await notifier.subscribe(f"{receiver.url}/hang")
        for number in range(ENDPOINTS - HANGING):
            await notifier.subscribe(f"{receiver.url}/{number}")
        await running.tell(available(1))
        await hung.wait()
        await running.tell(*(available(number) for number in range(2, EVENTS + 1)))
        done = (ENDPOINTS - HANGING) * EVENTS
        states = ["delivered"] * done + ["pending"] * (HANGING * EVENTS)
        await notifier.settled(*states)  # long before any of the hanging attempts gives up
        paths = Counter(received.line.split()[1] for received in receiver.requests)
        hanging = paths.pop("/hook/hang")
        assert len(paths) == ENDPOINTS - HANGING
        assert set(paths.values()) == {EVENTS}
        assert hanging <= HANGING * patient.per_lane
        assert running.deliverer._in_flight <= HANGING * patient.per_lane


async def test_a_backlog_stays_in_the_ledger(notifier: Notifier) -> None:
    """What one process holds of deliveries is bounded by its slots, not by what waits."""
    backlog = 3_000
    patient = dataclasses.replace(PACE, timeout_s=60.0)
    reached = asyncio.Event()

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await asyncio.Event().wait()

    async with Receiver(behaviour=behave) as receiver, notifier.running(patient) as running:
        subscription = await notifier.subscribe(receiver.url)
        await running.tell(available(1))
        await reached.wait()
        await notifier.pool.execute(
            """
            WITH made AS (
                INSERT INTO event_feed (key, type, model, recorded_at, body)
                SELECT gen_random_uuid(), 'version-available', 'digits', now(), repeat('x', 20000)
                FROM generate_series(1, $2) RETURNING seq
            )
            INSERT INTO delivery (id, subscription_id, event_seq) SELECT gen_random_uuid(), $1, seq FROM made
            """,
            subscription,
            backlog,
        )
        tracemalloc.start()
        try:
            for _ in range(20):
                running.deliverer.wake([subscription])
                await running.deliverer._poll()
            await receiver.wait_for(patient.per_lane)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(receiver.requests) == patient.per_lane
        assert running.deliverer._in_flight == patient.per_lane
        assert held < 4_000_000, "60 MB wait in the ledger"


async def test_in_a_large_ledger_rows_are_found_by_their_ids(notifier: Notifier) -> None:
    """Not by reading what is pending, which is little by statistics and may be much by now."""
    async with notifier.running(deliver=False) as running:
        subscription = await notifier.subscribe("http://127.0.0.1:9/")
        await running.tell(available(1))
        await notifier.pool.execute(
            """
            INSERT INTO delivery (id, subscription_id, event_seq, state)
            SELECT gen_random_uuid(), $1, (SELECT max(seq) FROM event_feed), 'delivered' FROM generate_series(1, 20000)
            """,
            subscription,
        )
        await notifier.pool.execute("ANALYZE delivery")
        ids = [row["id"] for row in await notifier.pool.fetch("SELECT id FROM delivery LIMIT 16")]
        statements: dict[str, tuple[object, ...]] = {
            "settle": (ids, [1] * 16, ["delivered"] * 16, [None] * 16, [datetime.now(UTC)] * 16, *[[None] * 16] * 6),
            "renew": (ids, [1] * 16, 5.0),
        }
        for name, arguments in statements.items():
            plan = "\n".join(row[0] for row in await notifier.pool.fetch(f"EXPLAIN {SQL[name]}", *arguments))
            assert "delivery_pkey" in plan, plan
        # whatever statistics say: with nothing better left, the index of what is pending is still not taken
        owner = await asyncpg.connect(
            notifier.dsn, server_settings={"search_path": "notifier", "enable_seqscan": "off"}
        )
        try:
            await owner.execute("ALTER TABLE delivery DROP CONSTRAINT delivery_pkey CASCADE")
            for name, arguments in statements.items():
                rows = await owner.fetch(f"EXPLAIN {SQL[name]}", *arguments)
                assert not any("delivery_due" in row[0] for row in rows), rows
        finally:
            await owner.close()


async def test_of_thousands_of_subscriptions_only_those_with_something_to_deliver_are_looked_at(
    notifier: Notifier,
) -> None:
    async with notifier.running(deliver=False) as running:
        wanting = [await notifier.subscribe("http://127.0.0.1:9/") for _ in range(2)]
        await running.tell(available(1))
        await notifier.pool.execute(
            """
            WITH made AS (
                INSERT INTO subscription (id, name, channel, config, filter, owner, created_at, updated_at)
                SELECT gen_random_uuid(), 'n-' || n, channel, config, filter, owner, created_at, updated_at
                FROM subscription, generate_series(1, 2000) AS n WHERE id = $1
                RETURNING id
            )
            INSERT INTO delivery (id, subscription_id, event_seq, state)
            SELECT gen_random_uuid(), id, (SELECT max(seq) FROM event_feed), 'delivered' FROM made
            """,
            wanting[0],
        )
        for statement, arguments in (("due_lanes", (2.0,)), ("due_digests", (10,))):
            explained = await notifier.pool.fetchval(
                f"EXPLAIN (ANALYZE, FORMAT JSON) {SQL[statement]}", *arguments, column=0
            )
            looked = [
                node for node in _nodes(json.loads(explained)[0]["Plan"]) if node.get("Relation Name") == "delivery"
            ]
            assert looked, statement
            assert sum(node["Actual Loops"] for node in looked) <= len(wanting) + 1, looked
            assert {node["Node Type"] for node in looked} <= {"Index Scan", "Index Only Scan"}, looked
        assert {lane.subscription_id for lane in await Ledger(notifier.pool).lanes(2.0)} == set(wanting)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


async def test_renewing_leases_waits_for_nobody(notifier: Notifier) -> None:
    """Rows that are being settled are passed over: waiting for them could be waiting in a circle."""
    async with notifier.running(deliver=False) as running:
        subscription = await notifier.subscribe("http://127.0.0.1:9/")
        await running.tell(available(1), available(2))
        ledger = Ledger(notifier.pool)
        held = {job.message.delivery_id: job.epoch for job in await ledger.lease({subscription: 2}, lease_s=1)}
        first = next(iter(held))
        async with notifier.pool.acquire() as other, other.transaction():
            await other.execute("SELECT FROM delivery WHERE id = $1 FOR UPDATE", first)
            async with asyncio.timeout(10):
                await ledger.renew(held, 600)
        far = "SELECT id FROM delivery WHERE due_at > now() + interval '500 s'"
        assert [row["id"] for row in await notifier.pool.fetch(far)] == [one for one in held if one != first]
