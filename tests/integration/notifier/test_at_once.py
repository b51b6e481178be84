"""A batch in one statement does what the handlers' transaction does, or nothing; what it cannot do takes their way."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from muniment.contracts import topics
from muniment.contracts.cloudevent import CloudEvent
from muniment.notifier import at_once, store
from muniment.runtime.delivery.record import Item

from .conftest import Notifier, Running, available

URL = "http://127.0.0.1:9/"
MODELS = ("digits", "letters", "faces")


class Watched:
    """What was tried in one statement, and whether that did it."""

    def __init__(self, running: Running) -> None:
        assert running.processor.at_once is not None
        self._inner = running.processor.at_once
        self.done: list[bool] = []
        running.processor.at_once = self

    async def __call__(self, items: Sequence[Item]) -> Collection[UUID] | None:
        known = await self._inner(items)
        self.done.append(known is not None)
        return known


@asynccontextmanager
async def watching(notifier: Notifier) -> AsyncIterator[tuple[Running, Watched]]:
    """A process that knows the subscriptions, and what it tries in one statement."""
    async with notifier.running(deliver=False) as running:
        await running.learn()
        yield running, Watched(running)


async def rows(notifier: Notifier) -> Counter[tuple[Any, ...]]:
    """Deliveries by model, subscription and state."""
    found = await notifier.pool.fetch(
        "SELECT f.model, d.subscription_id, d.state FROM delivery d JOIN event_feed f ON f.seq = d.event_seq"
    )
    return Counter(tuple(row) for row in found)


@pytest.mark.parametrize("seed", range(5))
async def test_both_ways_make_the_same_deliveries(notifier: Notifier, seed: int) -> None:
    chance = random.Random(seed)  # reason: a test's own dice
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    for _ in range(20):
        await notifier.subscribe(
            URL,
            timing=chance.choice([{}, {}, {"digest": "hourly"}, {"digest": "daily"}]),
            expires_at=chance.choice([None, None, hour_ago]),
            **chance.choice([{}, {"model": "d*"}, {"model": "faces"}, {"stability": "candidate"}]),
        )
    stabilities = [(chance.choice(MODELS), chance.choice(["stable", "candidate"])) for _ in range(30)]

    def events(start: int) -> list[CloudEvent]:
        return [
            available(start + place, model, stability=stability) for place, (model, stability) in enumerate(stabilities)
        ]

    async with notifier.running(deliver=False) as running:
        await running.apply(topics.VERSION_AVAILABLE, events(1))
        first = await rows(notifier)
        watched = Watched(running)
        await running.tell(*events(1001))
        assert watched.done == [True]
        assert await rows(notifier) == first + first
        assert len(first) > 0
        page = await running.feed.read(0, limit=100)
    assert [item.event["id"] for item in page.items] == [event.id for event in (*events(1), *events(1001))]


async def test_an_event_that_came_before_changes_nothing_and_one_with_its_id_alone_is_set_aside(
    notifier: Notifier,
) -> None:
    await notifier.subscribe(URL)
    async with watching(notifier) as (running, watched):
        await running.tell(available(1), available(2))
        await running.tell(available(2), available(3))
        assert watched.done == [True, True]
        assert sum((await rows(notifier)).values()) == 3
        assert await notifier.pool.fetchval("SELECT count(*) FROM dead_letter") == 0
        await running.tell(available(3, description="another"), available(4))
    assert sum((await rows(notifier)).values()) == 4
    assert await notifier.pool.fetchval("SELECT array_agg(code) FROM dead_letter") == ["event_id_conflict"]
    body = await notifier.pool.fetchval("SELECT body FROM event_feed WHERE body LIKE '%digits-3%'")
    assert "another" not in body


async def test_a_change_of_the_subscriptions_is_never_missed(notifier: Notifier) -> None:
    first = await notifier.subscribe(URL)
    async with watching(notifier) as (running, watched):
        await running.tell(available(1))
        second = await notifier.subscribe(URL)
        await running.tell(available(2))
        async with running.transactions.begin() as tx:
            await store.disable(tx.connection, first, "a test", tx.now)
        await running.tell(available(3))
        await running.tell(available(4))
    assert watched.done == [True, False, False, True]
    told = await notifier.pool.fetch("SELECT subscription_id, count(*) FROM delivery GROUP BY subscription_id")
    assert {row["subscription_id"]: row["count"] for row in told} == {first: 2, second: 3}


async def test_what_one_statement_should_not_hold_takes_the_handlers_way(
    notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_once, "_MOST", 3)
    await notifier.subscribe(URL)
    async with watching(notifier) as (running, watched):
        await running.tell(*(available(number) for number in range(1, 5)))
        await running.tell(*(available(number) for number in range(5, 8)))
    assert watched.done == [False, True]
    assert sum((await rows(notifier)).values()) == 7


async def test_an_event_twice_in_a_batch_with_other_content_is_one_event_and_one_dead_letter(
    notifier: Notifier,
) -> None:
    await notifier.subscribe(URL)
    async with watching(notifier) as (running, watched):
        await running.tell(available(1), available(1, description="another"))
    assert not any(watched.done[:1])
    assert sum((await rows(notifier)).values()) == 1
    assert await notifier.pool.fetchval("SELECT array_agg(code) FROM dead_letter") == ["event_id_conflict"]


async def test_two_processes_at_once_make_each_delivery_once(notifier: Notifier) -> None:
    """As after a rebalance: both have the same records, and their batches are cut differently."""
    await notifier.subscribe(URL)
    events = [available(number) for number in range(1, 41)]
    async with notifier.running(deliver=False) as one, notifier.running(deliver=False) as other:
        await one.learn()
        await other.learn()

        async def tell(running: Running, size: int) -> None:
            for start in range(0, len(events), size):
                await running.tell(*events[start : start + size])

        await asyncio.gather(tell(one, 7), tell(other, 3))
    assert sum((await rows(notifier)).values()) == 40
    assert await notifier.pool.fetchval("SELECT count(*) FROM event_feed") == 40
    assert await notifier.pool.fetchval("SELECT count(*) FROM dead_letter") == 0


async def test_a_change_of_one_subscription_parses_no_other_again(
    notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[object] = []
    filter_of = store.filter_of

    def noting(fields: Any) -> Any:
        parsed.append(fields)
        return filter_of(fields)

    monkeypatch.setattr(store, "filter_of", noting)
    for number in range(50):
        await notifier.subscribe(URL, model=f"parsed-{number}")
    async with notifier.running(deliver=False) as running:
        await running.learn()
        await notifier.subscribe(URL, model="parsed-new")
        parsed.clear()
        await running.tell(available(1, "parsed-new"), available(2, "parsed-7"))
    assert len(parsed) == 1
    assert sum((await rows(notifier)).values()) == 2
