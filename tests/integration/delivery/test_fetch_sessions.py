"""Fetch sessions on a real broker: what a consumer gets is the same, and what it says becomes little."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from muniment.adapters import kafka_fetch
from muniment.adapters.kafka import KafkaConnection
from muniment.adapters.kafka_fetch import Session, fetch_in_sessions

TOPICS, PARTITIONS = 3, 6


@pytest.fixture
async def places(kafka: KafkaConnection, topic_prefix: str) -> list[TopicPartition]:
    """Partitions of three topics."""
    names = [f"{topic_prefix}sessions-{number}" for number in range(TOPICS)]
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
    finally:
        await admin.close()
    return [TopicPartition(name, partition) for name in names for partition in range(PARTITIONS)]


class Made:
    """A consumer in sessions: how many partitions each of its requests named, and its sessions."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.consumer = consumer
        self.named: list[int] = []
        self._note_what_is_named()
        self._sessions = fetch_in_sessions(consumer)

    @property
    def session(self) -> Session:
        """Its session with the one broker there is."""
        [session] = self._sessions.values()
        return session

    def _note_what_is_named(self) -> None:
        send = self.consumer._client.send

        async def noting(node_id: int, request: Any, **options: Any) -> Any:
            if isinstance(request, kafka_fetch.SessionRequest):
                self.named.append(sum(len(parts) for _, parts in request.prepare({1: (4, 11)}).topics))
            return await send(node_id, request, **options)

        self.consumer._client.send = noting

    async def take(self, count: int) -> dict[TopicPartition, list[int]]:
        """So many records' offsets, by partition in the order they came."""
        found: dict[TopicPartition, list[int]] = defaultdict(list)
        async with asyncio.timeout(60):
            while sum(map(len, found.values())) < count:
                for place, records in (await self.consumer.getmany(timeout_ms=500)).items():
                    found[place] += [record.offset for record in records]
        return dict(found)


@asynccontextmanager
async def consuming(kafka: KafkaConnection, places: list[TopicPartition]) -> AsyncIterator[Made]:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=100)
    made = Made(consumer)
    await consumer.start()
    try:
        consumer.assign(places)
        yield made
    finally:
        await consumer.stop()


async def write(kafka: KafkaConnection, where: list[TopicPartition]) -> None:
    """A record to each of these, in turn."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    try:
        for place in where:
            await producer.send(place.topic, value=b"x", partition=place.partition)
    finally:
        await producer.stop()


async def test_once_everything_was_named_only_what_moved_is(
    kafka: KafkaConnection, places: list[TopicPartition]
) -> None:
    await write(kafka, places)
    async with consuming(kafka, places) as made:
        assert await made.take(len(places)) == {place: [0] for place in places}
        await made.consumer.getmany(timeout_ms=300)
        before = len(made.named)
        for number in range(1, 6):
            await write(kafka, places[:1])
            assert await made.take(1) == {places[0]: [number]}
        assert made.session.epoch > 5
        assert max(made.named[before:]) <= 1, made.named
        assert max(made.named) == len(places)


async def test_nothing_is_lost_or_repeated_by_seeks_pauses_new_assignments_and_sessions_that_are_gone(
    kafka: KafkaConnection, places: list[TopicPartition]
) -> None:
    chance = random.Random(3)  # reason: a test's own dice
    written: dict[TopicPartition, int] = defaultdict(int)
    read: dict[TopicPartition, int] = defaultdict(int)
    async with consuming(kafka, places) as made:
        for turn in range(40):
            where = chance.choices(places, k=chance.randint(1, 30))
            await write(kafka, where)
            for place in where:
                written[place] += 1
            expected = len(where)
            match turn % 5:
                case 0 if turn:
                    made.session.epoch += 3  # the broker has another one
                case 1:
                    made.session.id += 1  # the broker has none of this name
                case 2:
                    back = chance.choice([place for place in places if read[place]])
                    made.consumer.seek(back, read[back] - 1)
                    read[back] -= 1
                    expected += 1
                case 3:
                    made.consumer.assign(places)
                    for place in places:
                        made.consumer.seek(place, read[place])
                case 4:
                    still = chance.sample(places, 5)
                    made.consumer.pause(*still)
                    asyncio.get_running_loop().call_later(0.2, made.consumer.resume, *still)
            for place, offsets in (await made.take(expected)).items():
                assert offsets == list(range(read[place], read[place] + len(offsets)))
                read[place] += len(offsets)
    assert read == written
