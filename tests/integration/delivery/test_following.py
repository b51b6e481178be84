"""What a service only follows: a group of its own reads it, its failures are tried again by the service's first group."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from faststream.kafka import KafkaBroker

from muniment.adapters.kafka import KafkaPublisher
from muniment.adapters.postgres import connect
from muniment.contracts import topics
from muniment.contracts.cloudevent import encode
from muniment.contracts.errors import Transient
from muniment.contracts.events import TrainingCompleted
from muniment.ports.clock import SystemClock
from muniment.runtime.delivery.handler import Route, SimpleHandler
from muniment.runtime.delivery.incoming import Incoming
from muniment.runtime.delivery.processor import Processor
from muniment.runtime.delivery.relay import Relay
from muniment.runtime.delivery.subscriber import Subscriber
from muniment.runtime.delivery.transaction import Transactions, Tx
from muniment.runtime.service import following_group
from muniment.runtime.settings import DeliverySettings

from .conftest import Toy, event, eventually


@dataclass
class Follower(SimpleHandler[TrainingCompleted]):
    """Takes note of what it sees; fails for each event so often."""

    idempotent = True

    failures: int = 0
    tried: Counter[str] = field(default_factory=Counter)
    seen: list[tuple[str, int]] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)

    async def apply(self, tx: Tx, items: Sequence[tuple[Incoming[TrainingCompleted], None]]) -> None:
        await self.held.wait()
        for item, _ in items:
            self.tried[item.event.id] += 1
            if self.tried[item.event.id] <= self.failures:
                raise Transient("not_yet", "not yet")
        self.seen += [(item.event.id, item.attempt) for item, _ in items]


@asynccontextmanager
async def both(toy: Toy, follower: Follower) -> AsyncIterator[str]:
    """The toy service with a followed topic; gives the topic's name."""
    followed = f"{toy.prefix}followed"
    admin = AIOKafkaAdminClient(bootstrap_servers=toy.kafka.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(followed, 3, 1)])
    await admin.close()
    service, group, settings = "ingest", f"{toy.prefix}toy", DeliverySettings(retry_scale=0.01, attempts_in_place=1)
    publisher = KafkaPublisher(toy.kafka)
    relay = Relay(service, lambda: connect(toy.dsn, "toy"), publisher, SystemClock(), 31)
    transactions = Transactions(toy.pool, service, toy.prefix, SystemClock(), relay.wake)
    routes = (Route(topics.TRAINING_COMPLETED, toy.handler),)
    following = (Route(topics.TRAINING_COMPLETED, follower, followed),)
    broker = KafkaBroker(toy.kafka.bootstrap, allow_auto_create_topics=False, logger=None, apply_types=False)
    subscribers = [
        Subscriber(Processor(service, group, routes, transactions, settings, retried=following), SystemClock(), 500),
        Subscriber(
            Processor(
                service, following_group(group), following, transactions, settings, linger_s=0.02, reads_retries=False
            ),
            SystemClock(),
            500,
        ),
    ]
    for subscriber in subscribers:
        subscriber.register(broker)
    task = asyncio.create_task(relay.run())
    await broker.start()
    try:
        yield followed
    finally:
        for subscriber in subscribers:
            await subscriber.settle()
        await broker.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await publisher.close()


async def follow(toy: Toy, topic: str, *ids: str) -> None:
    for event_id in ids:
        headers, value = encode(event(event_id))
        await toy.producer.send_and_wait(topic, value=value, key=b"digits", headers=headers)


async def test_what_is_followed_never_keeps_the_other_routes_waiting(toy: Toy) -> None:
    follower = Follower()
    async with both(toy, follower) as followed:
        await follow(toy, followed, "a", "b")
        await toy.send("new")

        async def has_effect() -> bool:
            return await toy.effects() == ["new"]

        await eventually(has_effect)  # while the follower is held
        assert follower.seen == []
        follower.held.set()

        async def has_seen() -> bool:
            return len(follower.seen) == 2

        await eventually(has_seen)
    assert follower.seen == [("a", 1), ("b", 1)]


async def test_a_followed_event_that_fails_is_tried_again_until_it_succeeds(toy: Toy) -> None:
    follower = Follower(failures=3)
    follower.held.set()
    async with both(toy, follower) as followed:
        await follow(toy, followed, "a", "b")

        async def has_seen() -> bool:
            return len(follower.seen) == 2

        await eventually(has_seen)
    assert {name for name, _ in follower.seen} == {"a", "b"}
    assert all(attempt > 1 for _, attempt in follower.seen)
    assert await toy.dead_letters() == []


async def test_a_followed_record_that_is_no_event_is_set_aside(toy: Toy) -> None:
    async with both(toy, Follower()) as followed:
        headers, _ = encode(event("a"))
        await toy.producer.send_and_wait(followed, value=b"{", key=b"digits", headers=headers)

        async def has_letter() -> bool:
            return len(await toy.dead_letters()) == 1

        await eventually(has_letter)
    assert (await toy.dead_letters())[0]["topic"].endswith("followed")
