"""Pruning: what goes, what stays, and that it goes in bounded steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from muniment.notifier import prune as prune_module
from muniment.notifier import store
from muniment.notifier.prune import Pruner

from .conftest import Notifier, Running, available
from .receiver import Receiver


class DaysOn:
    """A clock that is so many days ahead."""

    def __init__(self, days: float) -> None:
        self.days = days

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self.days)


async def counts(notifier: Notifier) -> tuple[int, int, int]:
    """Events, deliveries, attempts."""
    row = await notifier.pool.fetchrow(
        "SELECT (SELECT count(*) FROM event_feed), (SELECT count(*) FROM delivery), (SELECT count(*) FROM attempt)"
    )
    return tuple(row)


async def prune(notifier: Notifier, days: float, feed_days: int = 30) -> None:
    await Pruner(notifier.pool, DaysOn(days), feed_days).prune()


async def deliver_one(notifier: Notifier, running: Running, number: int) -> None:
    await running.tell(available(number))
    await notifier.settled(*["delivered"] * number)


async def test_events_and_delivered_deliveries_go_after_their_days(notifier: Notifier) -> None:
    async with Receiver() as receiver, notifier.running() as running:
        await notifier.subscribe(receiver.url)
        await deliver_one(notifier, running, 1)
        await deliver_one(notifier, running, 2)
    await prune(notifier, 29)
    assert await counts(notifier) == (2, 2, 2)
    await prune(notifier, 31)
    assert await counts(notifier) == (0, 0, 0)


async def test_what_is_not_finished_keeps_its_event_then_dies_then_goes(notifier: Notifier) -> None:
    async with notifier.running(deliver=False) as running:
        await notifier.subscribe("http://127.0.0.1:9/")
        await running.tell(available(1))
    await prune(notifier, 2, feed_days=1)
    assert await notifier.states() == ["pending"]  # its schedule may still be running
    assert await counts(notifier) == (1, 1, 0)
    await prune(notifier, 5.5, feed_days=1)
    assert await notifier.states() == ["dead"]
    assert await counts(notifier) == (1, 1, 0)
    await prune(notifier, 6.5, feed_days=1)
    assert await counts(notifier) == (0, 0, 0)


async def test_a_deleted_subscription_leaves_nothing_and_delivers_nothing(notifier: Notifier) -> None:
    async with Receiver() as receiver, Receiver() as other:
        async with notifier.running(deliver=False) as running:
            subscription = await notifier.subscribe(receiver.url)
            await notifier.subscribe(other.url)
            await running.tell(available(1))
            async with running.transactions.begin() as tx:
                await store.lock(tx.connection, subscription)
                await store.delete(tx.connection, subscription, tx.now)
            await running.tell(available(2))
        async with notifier.running():
            await notifier.settled("pending", "delivered", "delivered")
        assert receiver.connections == 0
    await prune(notifier, 0)
    assert await notifier.states() == ["delivered", "delivered"]
    assert await notifier.pool.fetchval("SELECT count(*) FROM subscription") == 1
    assert await notifier.pool.fetchval("SELECT count(*) FROM subscription_secret") == 1


async def test_large_amounts_go_in_batches(notifier: Notifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune_module, "_ROWS", 10)
    async with notifier.running(deliver=False) as running:
        await notifier.subscribe("http://127.0.0.1:9/")
        await running.tell(*(available(number) for number in range(1, 36)))
    await notifier.pool.execute("UPDATE delivery SET state = 'delivered', finished_at = now() WHERE event_seq % 2 = 0")
    await prune(notifier, 31)
    assert set(await notifier.states()) == {"dead"}
    await prune(notifier, 61)
    assert await counts(notifier) == (0, 0, 0)
    assert await notifier.pool.fetchval("SELECT pruned_through FROM feed_state") >= 35


async def test_old_secrets_go_and_live_ones_stay(notifier: Notifier) -> None:
    subscription = await notifier.subscribe("http://127.0.0.1:9/")
    async with notifier.pool.acquire() as connection, connection.transaction():
        now = datetime.now(UTC)
        await store.rotate(connection, subscription, b"new", now=now, old_until=now - timedelta(seconds=1))
    await prune(notifier, 0)
    assert await store.live_secrets(notifier.pool, subscription) == (b"new",)
    assert await notifier.pool.fetchval("SELECT count(*) FROM subscription_secret") == 1
