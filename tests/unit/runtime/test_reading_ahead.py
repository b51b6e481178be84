"""What comes while a batch is processed is taken from the client at once, and none of it is lost when the batch fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError

from muniment.ports.clock import SystemClock
from muniment.runtime.delivery import subscriber as delivery
from muniment.runtime.delivery.processor import Processor
from muniment.runtime.delivery.record import Record
from muniment.runtime.delivery.subscriber import Polled, Subscriber
from muniment.runtime.service import FOLLOWING_LINGER_BUSY_S, FOLLOWING_LINGER_S
from muniment.runtime.settings import DeliverySettings

PARTITION = TopicPartition("events", 0)
MOST = 4


def record(offset: int) -> Any:
    """A record of the one partition."""
    return ConsumerRecord("events", 0, offset, 0, 0, None, b"{}", None, 0, 2, ())


class Client:
    """A consumer that holds records until they are taken."""

    def __init__(self) -> None:
        self._fetcher = SimpleNamespace(_prefetch_backoff=0.1)
        self._client = SimpleNamespace(send=None)
        self.held: list[Any] = []
        self.taken = asyncio.Event()
        self.committed: list[int] = []
        self.sought: list[int] = []
        self.stopped = False

    async def getmany(self, *, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        """At most so many of those that are held."""
        if self.stopped:
            raise ConsumerStoppedError
        given, self.held = self.held[:max_records], self.held[max_records:]
        if given:
            self.taken.set()
        return {PARTITION: given} if given else {}

    def assignment(self) -> set[TopicPartition]:
        """The one partition."""
        return {PARTITION}

    def seek(self, _: TopicPartition, offset: int) -> None:
        """Note it."""
        self.sought.append(offset)

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        """Note it."""
        self.committed.append(offsets[PARTITION])


class Work:
    """A processor that runs until the client's records were taken, then fails if it is to."""

    service = group = "toy"

    def __init__(self, client: Client, failure: type[Exception] | None = None) -> None:
        self.client = client
        self.failure = failure
        self.done: list[int] = []
        self.asked: list[int] = []

    def linger_after(self, records: int) -> float:
        """No time, but it is noted after how many records it was asked for."""
        self.asked.append(records)
        return 0.0

    def is_retry(self, _: str) -> bool:
        """No topic of retries."""
        return False

    async def process(self, records: Sequence[Record]) -> None:
        """As the class says."""
        if self.client.held:
            await self.client.taken.wait()
        if self.failure is not None:
            raise self.failure
        self.done += [one.offset for one in records]


def over(client: Client, work: Work) -> Subscriber:
    """The subscriber between the two."""
    return Subscriber(work, SystemClock(), MOST)  # type: ignore[arg-type]  # reason: all that it asks of a processor


async def offer(subscriber: Subscriber, client: Client, raw: Sequence[Any]) -> None:
    """Hand it a batch as the broker's library does."""
    await subscriber._take(Polled(tuple(raw), client))  # type: ignore[arg-type]  # reason: the parts of a consumer that it uses
    await subscriber._offsets.settle()


async def polled(subscriber: Subscriber, client: Client) -> list[int]:
    """The offsets of the next batch."""
    return [one.offset for one in await subscriber._poll(SimpleNamespace(max_records=MOST), client)]  # type: ignore[arg-type]  # reason: the parts of a message that it reads


async def test_records_that_come_during_a_batch_are_taken_then_and_are_the_next_in_order() -> None:
    client = Client()
    client.held = [record(2), record(3)]
    work = Work(client)  # it ends only when they were taken
    subscriber = over(client, work)
    async with asyncio.timeout(10):
        await offer(subscriber, client, [record(1)])
    client.held = [record(4)]
    assert await polled(subscriber, client) == [2, 3, 4]
    assert (work.done, client.committed) == ([1], [2])  # what is only taken is not committed


async def test_no_more_than_a_batch_is_taken_ahead() -> None:
    client = Client()
    client.held = [record(offset) for offset in range(2, 2 + 2 * MOST)]
    subscriber = over(client, Work(client))
    async with asyncio.timeout(10):
        await offer(subscriber, client, [record(1)])
    assert len(client.held) == MOST
    assert await polled(subscriber, client) == [2, 3, 4, 5]
    assert await polled(subscriber, client) == [6, 7, 8, 9]


async def test_a_batch_that_fails_is_read_again_with_what_was_taken_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_REWIND_PAUSE_S", 0)
    client = Client()
    client.held = [record(2)]
    subscriber = over(client, Work(client, failure=RuntimeError))
    async with asyncio.timeout(10):
        await offer(subscriber, client, [record(1)])
    assert (client.sought, client.committed) == ([1], [])
    assert await polled(subscriber, client) == []  # nothing past the one that failed


async def test_a_client_that_stops_does_not_fail_the_batch() -> None:
    client = Client()
    client.stopped = True
    work = Work(client)
    await offer(over(client, work), client, [record(1)])
    assert (work.done, client.sought, client.committed) == ([1], [], [2])


async def test_how_long_a_batch_waits_for_more_follows_from_the_one_before() -> None:
    client = Client()
    work = Work(client)
    subscriber = over(client, work)
    for count in (3, 1, 2):
        client.held = [record(offset) for offset in range(count)]
        await polled(subscriber, client)
    assert work.asked == [0, 3, 1]


def test_only_where_much_comes_it_waits_longer() -> None:
    def processor(**lingers: float) -> Processor:
        return Processor("toy", "toy", (), SimpleNamespace(topic_prefix=""), DeliverySettings(), **lingers)  # type: ignore[arg-type]  # reason: all that it asks of transactions here

    following = processor(linger_s=FOLLOWING_LINGER_S, linger_busy_s=FOLLOWING_LINGER_BUSY_S)
    assert [following.linger_after(count) for count in (0, 2, 3, 4, 100)] == [0.02, 0.02, 0.02, 0.1, 0.1]
    assert [processor(linger_s=0.5).linger_after(count) for count in (0, 100)] == [0.5, 0.5]
    assert processor().linger_after(100) == 0.0
