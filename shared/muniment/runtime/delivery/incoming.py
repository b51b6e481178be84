"""One record as a handler sees it: decoded, checked, and with its place in Kafka."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from muniment.contracts.cloudevent import CloudEvent
from muniment.contracts.events import Cause
from muniment.contracts.model import Payload

E = TypeVar("E", bound=Payload, covariant=True)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record lies in Kafka (for a retried one: where it lay first)."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Incoming(Generic[E]):
    """A record whose event and payload are valid. `attempt` counts from 1 over every try anywhere."""

    event: CloudEvent
    data: E
    place: Place
    attempt: int
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def cause(self) -> Cause:
        """The event as the cause of what follows from it."""
        return Cause(
            kind="event",
            id=self.event.id,
            topic=self.place.topic,
            partition=self.place.partition,
            offset=self.place.offset,
        )
