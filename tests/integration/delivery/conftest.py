"""A toy service on the real delivery: its handler does what an event's params tell it to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from faststream.kafka import KafkaBroker

import muniment.runtime.delivery as delivery
from muniment.adapters.kafka import KafkaConnection, KafkaPublisher, TopicLayout, ensure_topics
from muniment.adapters.postgres import Schema, connect, open_pool
from muniment.contracts import topics
from muniment.contracts.cloudevent import CloudEvent, encode
from muniment.contracts.errors import Rejected, Transient
from muniment.contracts.events import TrainingCompleted
from muniment.contracts.model import rfc3339
from muniment.ports.clock import SystemClock
from muniment.runtime.delivery.handler import Handler, Route
from muniment.runtime.delivery.incoming import Incoming
from muniment.runtime.delivery.processor import Processor
from muniment.runtime.delivery.relay import Relay
from muniment.runtime.delivery.subscriber import Subscriber
from muniment.runtime.delivery.transaction import Transactions, Tx
from muniment.runtime.settings import DeliverySettings
from tests.conftest import Migrated

MIGRATIONS = (Path(delivery.__path__[0]) / "sql" / "migrations", Path(__file__).parent / "migrations")


@dataclass
class ToyHandler(Handler[TrainingCompleted, None]):
    """Writes one row an event; `params.do` makes it misbehave in prepare or apply."""

    prepared: Counter[str] = field(default_factory=Counter)
    broken: Callable[[str], bool] = lambda _: True

    async def prepare(self, item: Incoming[TrainingCompleted]) -> None:
        self.prepared[item.event.id] += 1
        match item.data.facts.params.get("do"):
            case "transient" if self.broken(item.event.id):
                raise Transient("store_away", "the store does not answer")
            case "reject":
                raise Rejected("not_wanted", "not wanted")
            case "oserror" if self.broken(item.event.id):
                raise OSError("no route")

    async def apply(self, tx: Tx, items: Sequence[tuple[Incoming[TrainingCompleted], None]]) -> None:
        for item, _ in items:
            if item.data.facts.params.get("do") == "bug":
                raise RuntimeError("a bug")
            await tx.connection.execute(
                "INSERT INTO effect (event_id, attempt) VALUES ($1, $2)", item.event.id, item.attempt
            )

    async def reject(self, tx: Tx, item: Incoming[TrainingCompleted], error: Rejected) -> None:
        await tx.connection.execute("INSERT INTO rejection VALUES ($1, $2)", item.event.id, error.code)


@dataclass
class Toy:
    """The running toy service and its tools."""

    kafka: KafkaConnection
    dsn: str
    prefix: str
    handler: ToyHandler
    pool: Any
    producer: AIOKafkaProducer
    stack: AsyncExitStack

    @property
    def topic(self) -> str:
        return topics.TRAINING_COMPLETED.wire_name(self.prefix)

    async def send(self, event_id: str, do: str | None = None, **changes: Any) -> None:
        await self.send_raw(*encode(event(event_id, do, **changes)))

    async def send_raw(self, headers: Any, value: bytes | None, partition: int | None = None) -> None:
        await self.producer.send_and_wait(self.topic, value=value, key=b"digits", headers=headers, partition=partition)

    async def effects(self) -> list[str]:
        return [row["event_id"] for row in await self.pool.fetch("SELECT event_id FROM effect ORDER BY seq")]

    async def dead_letters(self) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.pool.fetch("SELECT * FROM dead_letter ORDER BY created_at")]

    @asynccontextmanager
    async def running(self, *, instance: str | None = None, **settings: Any) -> AsyncIterator[None]:
        """The subscriber and relay, until the end of the block."""
        service = "ingest"
        publisher = KafkaPublisher(self.kafka)
        relay = Relay(service, lambda: connect(self.dsn, "toy"), publisher, SystemClock(), 31)
        transactions = Transactions(self.pool, service, self.prefix, SystemClock(), relay.wake)
        route = Route(topics.TRAINING_COMPLETED, self.handler, refused_as="publication.refused")
        processor = Processor(
            service, f"{self.prefix}toy", (route,), transactions, DeliverySettings(**{"retry_scale": 0.01, **settings})
        )
        broker = KafkaBroker(self.kafka.bootstrap, allow_auto_create_topics=False, logger=None, apply_types=False)
        subscriber = Subscriber(processor, SystemClock(), 500, instance=instance)
        subscriber.register(broker)
        task = asyncio.create_task(relay.run())
        await broker.start()
        try:
            yield
        finally:
            await subscriber.settle()
            await broker.stop()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await publisher.close()


def event(event_id: str, do: str | None = None, **changes: Any) -> CloudEvent:
    """A valid training-completed event that tells the toy what to do."""
    payload = TrainingCompleted.model_validate(
        {
            "model": "digits",
            "files": [{"path": "a", "size": 1, "sha256": "a" * 64}],
            "facts": {"params": {"do": do}} if do else {},
        }
    )
    fields: dict[str, Any] = {
        "id": event_id,
        "source": "/test",
        "type": topics.TRAINING_COMPLETED.type,
        "data": payload.model_dump_json().encode(),
        "time": rfc3339(SystemClock().now()),
        **changes,
    }
    return CloudEvent(**fields)


@pytest.fixture
async def toy(kafka: KafkaConnection, migrated: Migrated, topic_prefix: str) -> AsyncIterator[Toy]:
    postgres_dsn = await migrated([Schema("toy", MIGRATIONS)])
    await ensure_topics(
        kafka,
        (topics.TRAINING_COMPLETED, topics.AUDIT_REQUESTED, *topics.owned_by("ingest")),
        TopicLayout(topic_prefix, 3, 1),
    )
    async with AsyncExitStack() as stack:
        pool = await open_pool(postgres_dsn, "toy", max_size=4)
        stack.push_async_callback(pool.close)
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
        await producer.start()
        stack.push_async_callback(producer.stop)
        yield Toy(kafka, postgres_dsn, topic_prefix, ToyHandler(), pool, producer, stack)


async def eventually(check: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until `check()` (an awaitable) answers something true; the deadline only guards against hanging."""
    async with asyncio.timeout(seconds):
        while not (answer := await check()):
            await asyncio.sleep(0.02)
    return answer
