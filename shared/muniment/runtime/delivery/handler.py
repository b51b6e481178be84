"""The seam between delivery and a service: a route names a topic and the handler of its events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from muniment.contracts.errors import Rejected
from muniment.contracts.model import Payload
from muniment.contracts.topics import Topic
from muniment.runtime.delivery.incoming import Incoming
from muniment.runtime.delivery.transaction import Tx

E = TypeVar("E", bound=Payload)
P = TypeVar("P")


class Handler(Generic[E, P]):
    """What a service does with the events of one topic.

    Delivery calls, for a micro-batch of new events: `prepare` for each (concurrently, outside any transaction), then
    `apply` once inside the transaction that also holds the inbox and outbox rows, then commits, then commits offsets.
    A crash anywhere before the commit repeats the whole; so `prepare` must be idempotent, and `apply` may only touch
    the transaction. Errors mean: `Rejected` -> `reject` in a transaction of its own; `Transient` and `Misconfigured`
    (an operator's mistake waits for its cure) -> tried again, then a retry topic; anything else -> dead
    letter. A batch that fails is taken apart and each event tried alone.
    """

    idempotent: ClassVar[bool] = False
    """Its effect is the same however often an event comes, by keys of its own: delivery keeps no inbox row for it."""

    async def prepare(self, item: Incoming[E]) -> P:
        """Effects outside the database, idempotent. The result is handed to `apply`."""
        raise NotImplementedError

    async def apply(self, tx: Tx, items: Sequence[tuple[Incoming[E], P]]) -> None:
        """The decision and its effects, for all events of the batch, in the order of their keys' partitions."""
        raise NotImplementedError

    async def reject(self, tx: Tx, item: Incoming[E], error: Rejected) -> None:
        """Record a rejection: state, event, audit entry. The default makes it a dead letter by raising it on."""
        raise error


class SimpleHandler(Handler[E, None]):
    """A handler with nothing to do outside its transaction."""

    async def prepare(self, item: Incoming[E]) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Route:
    """One row of a service's routing table."""

    topic: Topic
    handler: Handler[Any, Any]
    wire_name: str | None = None
    """Another Kafka topic with the same events (an extra intake topic)."""
    refused_as: str | None = None
    """Dead letters of this route are refusals of a stranger's input: they get an audit entry of this action as well."""
