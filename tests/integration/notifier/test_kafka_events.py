"""Listening to the topics themselves, on a real broker: the same words, the same promises, another cursor."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from muniment.adapters.kafka import KafkaConnection, TopicLayout, ensure_topics
from muniment.contracts import topics
from muniment.contracts.cloudevent import CloudEvent, encode
from muniment.contracts.errors import Misconfigured, Rejected
from muniment.contracts.event_filter import TOPICS
from muniment.sdk import Broker, Client, Event, events_over_kafka

from .conftest import available


@dataclass
class Topics:
    """A registry's topics with records of the test's making."""

    broker: Broker
    producer: AIOKafkaProducer

    async def tell(self, *events: CloudEvent) -> None:
        for event in events:
            headers, value = encode(event)
            name = topics.BY_TYPE[event.type].wire_name(self.broker.topic_prefix)
            await self.producer.send_and_wait(name, key=(event.key or "").encode(), value=value, headers=headers)

    async def there(self, **wanted: Any) -> list[str]:
        start = wanted.pop("since", "beginning")
        return [one.id async for one in events_over_kafka(self.broker, start, follow=False, **wanted)]


@pytest.fixture
async def made(kafka: KafkaConnection, topic_prefix: str) -> AsyncIterator[Topics]:
    await ensure_topics(kafka, TOPICS, TopicLayout(topic_prefix, 2, 1))
    async with AsyncExitStack() as stack:
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
        await producer.start()
        stack.push_async_callback(producer.stop)
        yield Topics(Broker(kafka.bootstrap, topic_prefix), producer)


async def taken(events: AsyncIterator[Event], count: int) -> list[Event]:
    async with asyncio.timeout(30):
        return [await anext(events) for _ in range(count)]


async def test_events_of_a_model_come_in_order_and_once(made: Topics) -> None:
    told = [available(number, model) for number, model in itertools.product(range(1, 6), ("digits", "other", "third"))]
    await made.tell(*told, told[3])  # as a relay that died would
    found = [one async for one in events_over_kafka(made.broker, "beginning", follow=False)]
    assert len(found) == len(told)
    for model in ("digits", "other", "third"):
        assert [one.data["number"] for one in found if one.model == model] == [1, 2, 3, 4, 5]
    assert found[0].cloudevent["source"] == "/muniment/registry"
    assert found[0].payload.track == "production"  # type: ignore[attr-defined]  # reason: it is a VersionAvailable


async def test_every_start_and_the_filters(made: Topics) -> None:
    await made.tell(available(1), available(2, model="other", stability="candidate", metrics={"accuracy": 0.97}))
    now = datetime.now(UTC)
    assert sorted(await made.there()) == ["digits-1", "other-2"]
    assert sorted(await made.there(since=now - timedelta(hours=1))) == ["digits-1", "other-2"]
    assert await made.there(since=now + timedelta(hours=1)) == []
    assert await made.there(since=None) == []
    assert await made.there(model="dig*") == ["digits-1"]
    assert await made.there(stability="candidate", metrics=["accuracy>0.9"]) == ["other-2"]
    assert await made.there(type="release-published") == []


async def test_it_goes_on_from_its_cursor_over_restarts_of_the_listener(made: Topics, tmp_path: Path) -> None:
    place = tmp_path / "place"
    heard: list[str] = []
    for start in range(1, 10, 3):
        await made.tell(*(available(number) for number in range(start, start + 3)))
        async for event in events_over_kafka(made.broker, "beginning", cursor=place, follow=False):
            heard.append(event.id)
            if event.data["number"] == start + 1:
                break  # dies while it handles the second of three
    expected = [1, 2, 2, 3, 4, 5, 5, 6, 7, 8]
    assert heard == [f"digits-{number}" for number in expected], "the unfinished one comes again, and no other"


async def test_what_comes_while_it_listens_and_a_partition_that_is_added(made: Topics, kafka: KafkaConnection) -> None:
    events = events_over_kafka(made.broker, type="version-available")
    waiting = asyncio.create_task(taken(events, 1))
    numbers = itertools.count(1)
    while not waiting.done():  # until it stands at the end, nothing is promised
        await made.tell(available(next(numbers)))
        await asyncio.wait([waiting], timeout=0.2)
    [first] = await waiting
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    name = topics.VERSION_AVAILABLE.wire_name(made.broker.topic_prefix)
    await admin.create_partitions({name: NewPartitions(total_count=5)})
    await admin.close()
    await events.aclose()
    last = next(numbers) - 1
    await made.producer.client.force_metadata_update()
    await made.tell(*(available(1, model=f"fresh-{number}") for number in range(20)))
    found = [
        one.id
        async for one in events_over_kafka(made.broker, cursor=first.cursor, type="version-available", follow=False)
    ]
    rest = [f"digits-{number}" for number in range(first.data["number"] + 1, last + 1)]
    assert [one for one in found if one.startswith("digits")] == rest
    assert sorted(one for one in found if one.startswith("fresh")) == sorted(f"fresh-{n}-1" for n in range(20))


async def test_a_record_that_is_no_event_stops_nobody(made: Topics) -> None:
    name = topics.VERSION_AVAILABLE.wire_name(made.broker.topic_prefix)
    await made.tell(available(1))
    await made.producer.send_and_wait(name, key=b"digits", value=b"not json", headers=[("ce_id", b"\xff")])
    await made.tell(available(2))
    assert await made.there() == ["digits-1", "digits-2"]


async def test_bad_cursors_and_missing_topics_are_told(made: Topics, kafka: KafkaConnection) -> None:
    await made.tell(available(1))
    [event] = [one async for one in events_over_kafka(made.broker, "beginning", follow=False, type="version-available")]
    for start, code in ((event.cursor, "cursor_unknown"), ("kafka.eyJhIjp7fX0", "cursor_invalid")):
        with pytest.raises(Rejected) as caught:
            await made.there(since=start)
        assert caught.value.code == code
    with pytest.raises(Misconfigured) as missing:
        await taken(events_over_kafka(Broker(kafka.bootstrap, "nowhere."), "beginning", patience=1.0), 1)
    assert missing.value.code == "topic_unknown"


async def test_a_blocking_client_reads_the_topics_too(made: Topics) -> None:
    await made.tell(available(1), available(2))
    with Client("http://127.0.0.1:9", "t") as client:

        def read() -> list[str]:
            return [one.id for one in client.events("beginning", follow=False, over="kafka", broker=made.broker)]

        assert await asyncio.to_thread(read) == ["digits-1", "digits-2"]
