"""Workers of deliveries: their leases, several of them, paused subscriptions, and workers that die or are stopped."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from muniment.notifier import store
from muniment.notifier.ledger import Job, Ledger

from .conftest import PACE, Notifier, available, eventually
from .receiver import Receiver, answer, hang

SLOW_RETRIES = dataclasses.replace(PACE, retry_scale=1.0)
IMPATIENT = dataclasses.replace(PACE, timeout_s=0.3)


async def test_a_zombie_settles_nothing(notifier: Notifier) -> None:
    from muniment.notifier import ledger as ledgers
    from muniment.notifier.ledger import Outcome
    from muniment.notifier.schedule import Attempt, Verdict

    async def settle(outcome: Outcome) -> None:
        async with notifier.pool.acquire() as connection, connection.transaction():
            await ledgers.settle(connection, [outcome], 60)

    async with notifier.running(deliver=False) as running:
        subscription = await notifier.subscribe("http://127.0.0.1:9/")
        await running.tell(available())
    ledger = Ledger(notifier.pool)
    [stale] = await ledger.lease({subscription: 5}, lease_s=0)
    [fresh] = await ledger.lease({subscription: 5}, lease_s=600)
    assert (stale.epoch, fresh.epoch, stale.message.delivery_id) == (1, 2, fresh.message.delivery_id)
    attempt = Attempt(datetime.now(UTC), 1, status=500)
    await settle(Outcome(stale, attempt, Verdict("dead")))
    assert await notifier.states() == ["pending"]
    assert await ledger.lease({subscription: 5}, lease_s=1) == []
    await settle(Outcome(fresh, attempt, Verdict("delivered")))
    assert await notifier.states() == ["delivered"]
    assert [row["number"] for row in await notifier.attempts()] == [1, 2]


async def test_a_lease_is_renewed_while_its_attempt_runs_and_ends_with_its_process(notifier: Notifier) -> None:
    brief = dataclasses.replace(PACE, lease_s=0.3, timeout_s=30.0)
    async with Receiver(behaviour=hang) as receiver, notifier.running(brief) as running:
        subscription = await notifier.subscribe(receiver.url)
        await running.tell(available())
        await receiver.wait_for(1)
        first = await notifier.pool.fetchval("SELECT due_at FROM delivery")
        await eventually(lambda: _due_after(notifier, first, 3 * brief.lease_s))
        assert len(receiver.requests) == 1
        receiver.behaviour = answer(200)
    ledger = Ledger(notifier.pool)
    [job] = await eventually(lambda: _leased(ledger, subscription))
    await ledger.renew({job.message.delivery_id: job.epoch - 1}, 60)  # a zombie renews nothing
    assert not await _due_after(notifier, datetime.now(UTC), 30)


async def _due_after(notifier: Notifier, moment: datetime, seconds: float) -> bool:
    due: datetime = await notifier.pool.fetchval("SELECT due_at FROM delivery")
    return due > moment + timedelta(seconds=seconds)


async def _leased(ledger: Ledger, subscription: uuid.UUID) -> list[Job]:
    return list(await ledger.lease({subscription: 5}, lease_s=1))


async def test_workers_of_two_processes_share_the_work(notifier: Notifier) -> None:
    async with Receiver() as receiver, notifier.running() as one, notifier.running():
        for _ in range(5):
            await notifier.subscribe(receiver.url)
        for number in range(1, 41):
            await one.tell(available(number))
        await notifier.settled(*["delivered"] * 200)
    assert len(receiver.requests) == 200
    assert len({request.id for request in receiver.requests}) == 200


async def test_a_paused_subscription_holds_what_it_has_and_goes_on_when_resumed(notifier: Notifier) -> None:
    async with Receiver() as receiver, notifier.running() as running:
        subscription = await notifier.subscribe(receiver.url)
        other = await notifier.subscribe(receiver.url + "/other")
        receiver.script = [answer(500), answer(500)]

        async def set_state(state: str) -> None:
            async with running.transactions.begin() as tx:
                found = await store.lock(tx.connection, subscription)
                await store.update(tx.connection, dataclasses.replace(found, state=state), tx.now)
                tx.after_commit(lambda: running.deliverer.wake([subscription]))

        await set_state("paused")
        await running.tell(available(1))
        await notifier.settled("delivered")
        assert await notifier.pool.fetchval("SELECT subscription_id FROM delivery") == other
        await set_state("active")
        await running.tell(available(2))
        await notifier.settled(*["delivered"] * 3)


CRASHING = """
import asyncio, sys
from muniment.adapters.postgres import open_pool
from muniment.notifier.addresses import LOOPBACK, AddressPolicy
from muniment.notifier.deliver import Deliverer, Pace
from muniment.notifier.ledger import Ledger
from muniment.notifier.outbound import Outbound
from muniment.notifier.sealing import Sealer
from muniment.notifier.channels.webhook import WebhookChannel
from muniment.ports.clock import SystemClock
from muniment.runtime import stop_point
from muniment.runtime.delivery.transaction import Transactions

async def main():
    stop_point.configure("notifier.answered-before-marked")
    pool = await open_pool(sys.argv[1], "notifier", max_size=4)
    channel = WebhookChannel(Outbound(AddressPolicy(LOOPBACK), connections=4), Sealer(b"k" * 32))
    transactions = Transactions(pool, "notifier", "muniment.", SystemClock(), lambda: True)
    await Deliverer(
        Ledger(pool), {"webhook": channel}, transactions, SystemClock(), Pace(4, 0.5, 1.0, 0.5, 0.05)
    ).run()

asyncio.run(main())
"""


async def test_killed_after_200_and_before_marking_it_goes_out_again_under_the_same_id(notifier: Notifier) -> None:
    async with Receiver() as receiver:
        async with notifier.running(deliver=False) as running:
            await notifier.subscribe(receiver.url)
            await running.tell(available())
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CRASHING, notifier.dsn, env=dict(os.environ)
        )
        assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGKILL
        assert len(receiver.requests) == 1
        assert await notifier.states() == ["pending"]
        async with notifier.running():
            await notifier.settled("delivered")
    first, second = receiver.requests
    assert first.id == second.id
    assert [row["number"] for row in await notifier.attempts()] == [2]  # of the first one only the gap remains


async def test_stopping_lets_running_attempts_end_and_be_recorded(notifier: Notifier) -> None:
    began = asyncio.Event()

    async def slowly(received: Any, writer: asyncio.StreamWriter) -> None:
        began.set()
        await asyncio.sleep(0.3)
        await answer(200)(received, writer)

    async with Receiver(behaviour=slowly) as receiver:
        async with notifier.running() as running:
            await notifier.subscribe(receiver.url)
            await running.tell(available())
            await began.wait()
        assert await notifier.states() == ["delivered"]
    assert len(receiver.requests) == 1
