"""What a service is to the composition root: its name, its schema, and how it is built from its dependencies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from muniment.ports.blobs import BlobStore
from muniment.ports.clock import Clock
from muniment.runtime.delivery.handler import Route
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.metrics import Metrics
from muniment.runtime.settings import Settings

if TYPE_CHECKING:
    import asyncpg
    from fastapi import APIRouter

    from muniment.adapters.kafka import KafkaConnection
    from muniment.runtime.delivery.processor import AtOnce
    from muniment.runtime.identity.store import Identity


FOLLOWING_LINGER_S: Final = 0.02
"""How long the first record of a batch of followed events waits for more."""
FOLLOWING_LINGER_BUSY_S: Final = 0.1
"""The same while several come at once: nobody is told later than that where a run stands, and all others wait less."""


def following_group(group: str) -> str:
    """The consumer group that reads what a service only follows, beside its own group."""
    return f"{group}-following"


@dataclass(frozen=True, slots=True)
class Deps:
    """What the composition root hands to each service."""

    settings: Settings
    pool: asyncpg.Pool[Any]
    """Connections whose search path is the service's own schema, under its own role."""
    transactions: Transactions
    blobs: BlobStore
    identity: Identity
    clock: Clock
    metrics: Metrics
    kafka: KafkaConnection | None = None
    """For a service that produces to topics of its users; its own go through the outbox."""


@dataclass(frozen=True, slots=True)
class Built:
    """A service, ready to run."""

    routes: tuple[Route, ...] = ()
    following: tuple[Route, ...] = ()
    """Routes of events that tell the service how something fares; nobody's latency hangs on what it does with them.
    A consumer group of their own reads them, in fewer and larger batches, and never keeps the other routes waiting."""
    at_once: AtOnce | None = None
    """What does whole batches of `routes` in one statement, where it can."""
    router: APIRouter | None = None
    tasks: tuple[Callable[[], Awaitable[None]], ...] = ()
    """Loops that run until they are cancelled; one that ends or raises stops the process with an error."""
    notes: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    """What `/readyz` tells beside its checks: each raises what an operator should know, and makes nothing unready."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service. Its schema is its name with underscores; its migrations are `{package}/sql/migrations/*.sql`."""

    name: str
    package: str
    build: Callable[[Deps], Built]
    linger_s: float = 0.0
    """How long the first record of a batch waits for more, for a service whose effects nobody waits for. At most 0.09:
    a client library that holds records for longer goes on without their partitions, for up to a second."""

    session: Mapping[str, str] = field(default_factory=dict)
    """Postgres settings of its connections, beside those that all have."""

    @property
    def schema(self) -> str:
        """The Postgres schema it owns, and the stem of its role `muniment_{schema}`."""
        return self.name.replace("-", "_")
