"""Producing to topics that others own: a topic that is gone or closed must not hold up anybody else's records."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import Any, Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from muniment.adapters.kafka import MAX_RECORD, KafkaConnection, Outgoing
from muniment.contracts.errors import Rejected, Transient

_LOOK_AGAIN_S: Final = 2.0
"""How old the list of topics may be before a name that is not in it is looked for again."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record lies."""

    partition: int
    offset: int


@dataclass(slots=True)
class GuestPublisher:
    """A producer (`acks=all`) for other people's topics. An async context manager; it connects at the first record.

    It is not idempotent: such a producer dies of one refused partition, and a delivery may come twice anyway.
    """

    connection: KafkaConnection
    _producer: AIOKafkaProducer | None = None
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _topics: set[str] = field(default_factory=set)
    _looked_at: float = float("-inf")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(KafkaError, TimeoutError, OSError):
                async with asyncio.timeout(5):  # its own stop() waits for ever for a broker that is gone
                    await producer.stop()

    async def publish(self, record: Outgoing) -> Place:
        """Send one record and say where it lies.

        Raises `Rejected` (`topic_unknown`) and `Transient` (`broker_unavailable`), after which it may lie there or not.
        """
        try:
            producer = await self._open()
            await self._look(producer, record.topic)
            sent = await producer.send_and_wait(
                record.topic, value=record.value, key=record.key, headers=record.headers
            )
        except UnknownTopicOrPartitionError as error:
            self._topics.discard(record.topic)
            raise _unknown(record.topic) from error
        except (KafkaError, TimeoutError, OSError) as error:
            raise Transient("broker_unavailable", f"Kafka did not take the record: {type(error).__name__}") from error
        return Place(sent.partition, sent.offset)

    async def _open(self) -> AIOKafkaProducer:
        async with self._opening:
            if self._producer is None:
                producer: Any = AIOKafkaProducer(
                    **self.connection.options(), acks="all", max_request_size=MAX_RECORD, request_timeout_ms=5_000
                )
                try:
                    await producer.start()
                except BaseException:
                    with contextlib.suppress(KafkaError, OSError):
                        await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def _look(self, producer: AIOKafkaProducer, topic: str) -> None:
        """See that the topic is there: naming one that is not would wait for it, or have the broker make it."""
        if topic in self._topics:
            return
        async with self._looking:
            if topic not in self._topics and time.monotonic() - self._looked_at >= _LOOK_AGAIN_S:
                self._topics = set((await producer.client.fetch_all_metadata()).topics())
                self._looked_at = time.monotonic()
        if topic not in self._topics:
            raise _unknown(topic)


def _unknown(topic: str) -> Rejected:
    return Rejected(
        "topic_unknown",
        f"there is no topic {topic}",
        hint="make it: topics of subscribers are theirs, and nothing here creates them",
    )
