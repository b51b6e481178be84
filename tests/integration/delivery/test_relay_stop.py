"""An orderly stop publishes nothing twice: what the broker has is marked before the relay goes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any, cast

import pytest

from muniment.adapters.kafka import KafkaPublisher, Outgoing
from muniment.adapters.postgres import connect
from muniment.contracts import topics
from muniment.ports.clock import SystemClock
from muniment.runtime.delivery import relay as module
from muniment.runtime.delivery.relay import Relay
from muniment.runtime.delivery.transaction import Transactions

from .conftest import Toy, event


class Slow:
    """A publisher whose broker has the records long before it says so."""

    def __init__(self) -> None:
        self.has: list[Outgoing] = []
        self.taken = asyncio.Event()
        self.answer = asyncio.Event()

    async def publish(self, records: Sequence[Outgoing]) -> int:
        self.has += records
        self.taken.set()
        await self.answer.wait()
        return len(records)


async def stopped(toy: Toy, *, answers: bool) -> tuple[Slow, int]:
    """A relay that is stopped while its batch is with the broker; what was published, and how many rows are unsent."""
    slow = Slow()
    relay = Relay("ingest", lambda: connect(toy.dsn, "toy"), cast("KafkaPublisher", slow), SystemClock(), 31)
    async with Transactions(toy.pool, "ingest", toy.prefix, SystemClock(), relay.wake).begin() as tx:
        for number in range(3):
            tx.send(topics.TRAINING_COMPLETED.wire_name(toy.prefix), event(str(uuid.UUID(int=number))))
    task = asyncio.create_task(relay.run())
    async with asyncio.timeout(30):
        await slow.taken.wait()
        task.cancel()
        if answers:
            slow.answer.set()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    unsent: Any = await toy.pool.fetchval("SELECT count(*) FROM outbox WHERE sent_at IS NULL")
    return slow, unsent


async def test_what_the_broker_has_is_marked_before_the_relay_goes(toy: Toy) -> None:
    slow, unsent = await stopped(toy, answers=True)
    assert (len(slow.has), unsent) == (3, 0)


async def test_a_broker_that_never_answers_holds_up_no_stop(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STOP_S", 0.05)
    slow, unsent = await stopped(toy, answers=False)
    assert (len(slow.has), unsent) == (3, 3)  # published again by the next one: its readers know them
