"""Outward events read from their topics: no consumer group, and a cursor that holds the place in every partition."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from muniment.contracts import strict_json
from muniment.contracts.cloudevent import CloudEvent, decode
from muniment.contracts.errors import Misconfigured, MunimentError, Rejected, Transient
from muniment.contracts.event_filter import TOPICS, TYPES, Filter, facts_of_json
from muniment.sdk.broker import Broker
from muniment.sdk.kafka_place import Offsets, cursor_of, offsets_of, start_offsets
from muniment.sdk.listening import Moved, backoff
from muniment.sdk.records import Event

log = logging.getLogger(__name__)

_POLL_MS: Final = 500
_RECORDS: Final = 200
_FETCH_BYTES: Final = 4 * 1024 * 1024
_KNOWN_IDS: Final = 10_000
"""Ids of the newest events: a relay that died may publish a few once more, and they are passed over."""


async def kafka_events(
    broker: Broker,
    wanted: Filter,
    start: str | datetime | None,
    *,
    follow: bool = True,
    patience: float = 300.0,
) -> AsyncGenerator[Event | Moved, None]:
    """Events that match, in order for each model and type. `start`: a cursor, `beginning`, a time, or None for now.

    Restarts of the broker are ridden out. Raises `Rejected` (`cursor_...`), `Misconfigured` (`kafka_missing`,
    `topic_unknown`), `Transient` (`broker_unavailable`) where it does not answer for `patience` seconds at the start.
    """
    feed = _Feed(broker, wanted, follow=follow)
    pauses = backoff()
    answered = time.monotonic()
    while True:
        try:
            async with feed.opened(start) as consumer:
                pauses, answered = backoff(), time.monotonic()
                start = cursor_of(feed.offsets)
                yield Moved(start)
                async for item in feed.read(consumer):
                    yield item
                return
        except _Again as error:
            if time.monotonic() - answered > patience:
                raise Transient(
                    "broker_unavailable",
                    "Kafka does not answer",
                    actual=str(error.__cause__ or error)[:200],
                    hint="MUNIMENT_KAFKA__BOOTSTRAP says where it is; --over http listens to the server instead",
                ) from error
            if feed.offsets:
                start = cursor_of(feed.offsets)
            await asyncio.sleep(next(pauses))


class _Again(Exception):
    """The consumer is of no more use; another one goes on from the offsets."""


class _Feed:
    def __init__(self, broker: Broker, wanted: Filter, *, follow: bool) -> None:
        self._broker = broker
        self._wanted = wanted
        self._follow = follow
        chosen = [TYPES[name] for name in sorted(wanted.types)] or list(TOPICS)
        self._topics = {topic.wire_name(broker.topic_prefix): topic for topic in chosen}
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self.offsets: Offsets = {}
        self._until: Offsets = {}

    @contextlib.asynccontextmanager
    async def opened(self, start: str | datetime | None) -> AsyncIterator[Any]:
        """A consumer that stands where it is to go on."""
        try:
            from aiokafka import AIOKafkaConsumer
            from aiokafka.errors import KafkaError
        except ImportError as error:
            raise Misconfigured(
                "kafka_missing",
                "the Kafka client library is not installed",
                hint="pip install 'muniment[kafka]', or listen over HTTP",
            ) from error
        consumer: Any = AIOKafkaConsumer(
            **self._broker.options(),
            enable_auto_commit=False,
            auto_offset_reset="none",  # a place that is gone must be told, never jumped over
            max_partition_fetch_bytes=_FETCH_BYTES,
            metadata_max_age_ms=60_000,
        )
        try:
            try:
                async with asyncio.timeout(30):
                    await consumer.start()
                    await self._assigned(consumer)
                    await self._seek(consumer, start)
            except (KafkaError, OSError, TimeoutError) as error:
                raise _Again from error
            yield consumer
        finally:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(5):
                    await consumer.stop()

    async def _assigned(self, consumer: Any) -> None:
        """All partitions of all topics. Asked before, since the library waits long for a topic that is not there."""
        if missing := sorted(set(self._topics) - await consumer.topics()):
            raise Misconfigured(
                "topic_unknown",
                "the broker has not all topics of this registry, or does not show them to us",
                expected=", ".join(missing),
                hint="MUNIMENT_KAFKA__TOPIC_PREFIX must be the registry's; `muniment topics` makes them",
            )
        consumer.subscribe(list(self._topics))
        while {part.topic for part in consumer.assignment()} != set(self._topics):  # noqa: ASYNC110  # reason: the library tells nobody when it knows the partitions
            await asyncio.sleep(0.02)

    async def _seek(self, consumer: Any, start: str | datetime | None) -> None:
        parts = {(part.topic, part.partition): part for part in consumer.assignment()}
        first = _named(await consumer.beginning_offsets(list(parts.values())))
        end = _named(await consumer.end_offsets(list(parts.values())))
        if start is None:
            self.offsets = dict(end)
        elif isinstance(start, datetime):
            asked = dict.fromkeys(parts.values(), int(start.timestamp() * 1000))
            found = {
                (part.topic, part.partition): None if place is None else place.offset
                for part, place in (await consumer.offsets_for_times(asked)).items()
            }
            self.offsets = {place: end[place] if (at := found.get(place)) is None else at for place in parts}
        elif start == "beginning":
            self.offsets = dict(first)
        else:
            self.offsets = start_offsets(offsets_of(start), first, end)
        self._until = self._until or dict(end)
        for place, part in parts.items():
            consumer.seek(part, self.offsets[place])

    async def read(self, consumer: Any) -> AsyncIterator[Event | Moved]:
        """What comes, until all that was there at the start has come where nothing is followed."""
        from aiokafka.errors import (
            IllegalStateError,
            KafkaError,
            NoOffsetForPartitionError,
            OffsetOutOfRangeError,
        )

        while True:
            if not self._follow and all(self.offsets.get(place, 0) >= end for place, end in self._until.items()):
                return
            try:
                batches: Mapping[Any, Sequence[Any]] = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_RECORDS)
            except (NoOffsetForPartitionError, OffsetOutOfRangeError, IllegalStateError) as error:
                raise _Again from error  # partitions were added, or records went: the offsets tell which
            except KafkaError as error:
                raise _Again from error
            moved = False
            for part, records in batches.items():
                for record in records:
                    self.offsets[part.topic, part.partition] = record.offset + 1
                    event = self._event(record)
                    if event is not None:
                        yield event
                    moved = event is None
            if moved:
                yield Moved(cursor_of(self.offsets))

    def _event(self, record: Any) -> Event | None:
        """The record as an event that is wanted and was not seen a moment ago."""
        topic = self._topics[record.topic]
        try:
            event = decode(record.headers, record.value)
            structured = structured_of(event)
            if event.type != topic.type or not isinstance(structured["data"], dict):
                raise Rejected("event_type", "the event is of another type", expected=topic.type, actual=event.type)
        except MunimentError as error:
            # Only services write these topics, so this is a fault of theirs; a listener must not stand still for it.
            log.warning("%s/%d at %d is no event: %s", record.topic, record.partition, record.offset, error)
            return None
        name = (event.source, event.id)
        if name in self._seen:
            return None
        self._seen[name] = None
        if len(self._seen) > _KNOWN_IDS:
            self._seen.popitem(last=False)
        if not self._wanted.matches(facts_of_json(structured)):
            return None
        return Event.of_cloudevent(structured, cursor_of(self.offsets))


def structured_of(event: CloudEvent) -> dict[str, Any]:
    """The event in CloudEvents' JSON format, as the event stream has it. Raises `Rejected` for no JSON."""
    optional = {"time": event.time, "subject": event.subject, "dataschema": event.dataschema}
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        **{name: value for name, value in optional.items() if value is not None},
        "datacontenttype": "application/json",
        **event.extensions,
        "data": strict_json.loads(event.data),
    }


def _named(offsets: Mapping[Any, int]) -> Offsets:
    return {(part.topic, part.partition): offset for part, offset in offsets.items()}
