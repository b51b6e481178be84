"""A Kafka record as bytes, and what makes it an event for a route: decoding, and the headers of retried records."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

from muniment.adapters.kafka_batches import REASONS, UNREADABLE
from muniment.contracts.cloudevent import CloudEvent, content_event_id, decode
from muniment.contracts.codec import payload_of
from muniment.contracts.errors import MunimentError, Rejected
from muniment.runtime.delivery.handler import Route
from muniment.runtime.delivery.header_text import Header
from muniment.runtime.delivery.incoming import Incoming, Place

RETRY_PREFIX: Final = "muniment-retry-"
_KEPT_ON_RETRY: Final = ("ce_", "content-type", "muniment-signature", "traceparent", "tracestate")


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it lies in Kafka; nothing of it is trusted or decoded yet. `timestamp_ms` is Kafka's."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    timestamp_ms: int = 0

    @property
    def place(self) -> Place:
        """Where it lies."""
        return Place(self.topic, self.partition, self.offset)


@dataclass(frozen=True, slots=True)
class RetryState:
    """What a record on a retry topic carries in its headers: where it came from and when it is due."""

    origin: Place
    attempts: int
    due_ms: int

    def headers(self) -> tuple[Header, ...]:
        """As Kafka headers."""
        fields = {
            "origin": json.dumps([self.origin.topic, self.origin.partition, self.origin.offset]),
            "attempts": str(self.attempts),
            "due-ms": str(self.due_ms),
        }
        return tuple((RETRY_PREFIX + name, value.encode()) for name, value in fields.items())


def retry_state(record: Record) -> RetryState:
    """The retry headers of a record. Raises `Rejected` (`retry_headers_invalid`)."""
    found = {
        name.removeprefix(RETRY_PREFIX): value
        for name, value in record.headers
        if name.startswith(RETRY_PREFIX) and value is not None
    }
    try:
        topic, partition, offset = json.loads(found["origin"])
        return RetryState(Place(str(topic), int(partition), int(offset)), int(found["attempts"]), int(found["due-ms"]))
    except (KeyError, ValueError, TypeError) as error:
        raise Rejected("retry_headers_invalid", "a record on a retry topic lacks its retry headers") from error


def _check_readable(record: Record) -> None:
    """Raise `Rejected` (one of `kafka_batches.REASONS`) for a record that stands for a batch which cannot be read."""
    if len(record.headers) == 1 and record.headers[0][0] == UNREADABLE:
        code = (record.headers[0][1] or b"").decode("utf-8", "replace")
        if code in REASONS:
            raise Rejected(code, REASONS[code], actual=f"{len(record.value or b'')} B as it travelled")


def kept_headers(record: Record) -> tuple[Header, ...]:
    """The headers that a retry carries on: those that mean something to us."""
    return tuple((n, v) for n, v in record.headers if v is not None and n.lower().startswith(_KEPT_ON_RETRY))


@dataclass(frozen=True, slots=True)
class Item:
    """A record with its route and decoded event."""

    record: Record
    route: Route
    incoming: Incoming[Any]
    inbox_key: UUID
    digest: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that cannot become an event for its route, and why."""

    record: Record
    route: Route | None
    error: MunimentError
    attempts: int = 1
    event: CloudEvent | None = None


def read(record: Record, routes: dict[str, Route], retry_topics: frozenset[str]) -> Item | Refusal:
    """Decode one record. Whatever the bytes are, the answer is an item or a refusal, never an exception."""
    route: Route | None = None
    event: CloudEvent | None = None
    try:
        place, attempt = record.place, 1
        if record.topic in retry_topics:
            state = retry_state(record)
            place, attempt = state.origin, state.attempts + 1
        route = routes.get(place.topic)
        if route is None:
            raise Rejected("topic_unknown", "no route takes this topic", actual=place.topic)
        _check_readable(record)
        event = decode(record.headers, record.value)
        payload = payload_of(event, route.topic)
    except MunimentError as error:
        return Refusal(record, route, error, event=event)
    incoming = Incoming(event, payload, place, attempt, record.headers)
    key = UUID(content_event_id("inbox", event.source, event.id))
    digest = blake2b(event.type.encode() + b"\0" + event.data, digest_size=16).digest()
    return Item(record, route, incoming, key, digest)
