"""The notifier on a real Postgres, with delays made short, and receivers on real sockets."""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import muniment.notifier as package
import muniment.runtime.delivery as delivery
from muniment.adapters.postgres import Schema, migrate, open_pool
from muniment.contracts import topics
from muniment.contracts.cloudevent import CloudEvent, encode
from muniment.contracts.codec import parse
from muniment.contracts.events import VersionAvailable
from muniment.contracts.model import Payload
from muniment.notifier import store
from muniment.notifier.addresses import LOOPBACK, AddressPolicy
from muniment.notifier.app import Waiters
from muniment.notifier.at_once import AtOnce
from muniment.notifier.channels import Channel
from muniment.notifier.channels.webhook import WebhookChannel
from muniment.notifier.deliver import Deliverer, Pace
from muniment.notifier.domain import filter_of
from muniment.notifier.feed import Feed
from muniment.notifier.gather import Gatherer
from muniment.notifier.handlers import Announce, Matcher
from muniment.notifier.ledger import Ledger
from muniment.notifier.outbound import Outbound
from muniment.notifier.sealing import Sealer, new_secret
from muniment.notifier.timing import timing_of
from muniment.ports.clock import Clock, SystemClock
from muniment.runtime.delivery.handler import Route
from muniment.runtime.delivery.incoming import Incoming, Place
from muniment.runtime.delivery.processor import Processor
from muniment.runtime.delivery.record import Record
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.settings import DeliverySettings
from muniment.server.parts import Parts

MIGRATIONS = tuple(Path(module.__path__[0]) / "sql" / "migrations" for module in (delivery, package))
SCHEMA = Schema("notifier", MIGRATIONS)
KEY = b"k" * 32
PACE = Pace(workers=8, timeout_s=5.0, retry_scale=1e-6, lease_s=5.0, poll_s=0.05, stop_s=0.5)
DEVELOPMENT = AddressPolicy(LOOPBACK)
_numbers = itertools.count(1)


@dataclass
class Running:
    """One process of the notifier: its worker delivers while the block lasts."""

    pool: Any
    deliverer: Deliverer
    feed: Feed
    handlers: dict[str, Announce]
    matcher: Matcher
    processor: Processor
    transactions: Transactions
    gatherer: Gatherer
    waiters: Waiters

    async def tell(self, *events: CloudEvent) -> None:
        """Each run of one type as a batch of delivery's: in one statement where that can be."""
        for kind, group in itertools.groupby(events, key=lambda event: event.type):
            topic = topics.BY_TYPE[kind].wire_name("muniment.")
            await self.processor.process([_record(topic, event) for event in group])

    async def learn(self) -> None:
        """Read the subscriptions as they are, so that the next batch of events can be done in one statement."""
        async with self.transactions.begin() as tx:
            await self.matcher.insert(tx, {})

    async def apply(self, topic: topics.Topic, events: Sequence[CloudEvent]) -> None:
        """The handlers' way: what `tell` does not do in one statement."""
        async with self.transactions.begin() as tx:
            await self.handlers[topic.type].apply(tx, incoming(topic, events))


def _record(topic: str, event: CloudEvent) -> Record:
    headers, value = encode(event)
    return Record(topic, 0, next(_numbers), b"digits", value, tuple(headers))


def incoming(topic: topics.Topic, events: Sequence[CloudEvent]) -> list[tuple[Incoming[Payload], None]]:
    """Events as delivery hands them to a handler."""
    return [
        (Incoming(event, parse(topic.event, json.loads(event.data)), Place("t", 0, 0), 1), None) for event in events
    ]


@dataclass
class Notifier:
    """A migrated database and the means to run the service on it."""

    dsn: str
    pool: Any
    sealer: Sealer = field(default_factory=lambda: Sealer(KEY))

    @asynccontextmanager
    async def running(
        self,
        pace: Pace = PACE,
        *,
        policy: AddressPolicy = DEVELOPMENT,
        deliver: bool = True,
        clock: Clock = SystemClock(),  # noqa: B008  # reason: it has no state
        channels: Callable[[WebhookChannel], Mapping[str, Channel]] = lambda webhook: {"webhook": webhook},
        **outbound: Any,
    ) -> AsyncIterator[Running]:
        transactions = Transactions(self.pool, "notifier", "muniment.", clock, lambda: True)
        async with Outbound(policy, connections=pace.workers, **outbound) as client:
            webhook = WebhookChannel(client, self.sealer)
            deliverer = Deliverer(Ledger(self.pool), channels(webhook), transactions, clock, pace)
            feed = Feed(self.pool)
            matcher = Matcher()

            waiters = Waiters(deliverer, feed)
            handlers = {topic.type: Announce(topic, matcher, waiters.wake) for topic in topics.ALL}
            processor = Processor(
                "notifier",
                "notifier",
                tuple(Route(topics.BY_TYPE[kind], handler) for kind, handler in handlers.items()),
                transactions,
                DeliverySettings(),
                at_once=AtOnce(self.pool, matcher, waiters, clock),
            )
            task = asyncio.create_task(deliverer.run()) if deliver else None
            try:
                yield Running(
                    self.pool,
                    deliverer,
                    feed,
                    handlers,
                    matcher,
                    processor,
                    transactions,
                    Gatherer(transactions, waiters.wake),
                    waiters,
                )
            finally:
                if task is not None:
                    ended = task.done()
                    task.cancel()
                    [result] = await asyncio.gather(task, return_exceptions=True)
                    assert not ended, f"the worker ended by itself: {result!r}"

    async def subscribe(
        self,
        url: str,
        *,
        secret: str | None = None,
        channel: str = "webhook",
        timing: Mapping[str, Any] | None = None,
        expires_at: datetime | None = None,
        **wanted: Any,
    ) -> uuid.UUID:
        """A subscription, stored as the HTTP route stores it."""
        subscription_id = uuid.uuid4()
        async with self.pool.acquire() as connection, connection.transaction():
            await store.create(
                connection,
                subscription_id=subscription_id,
                name=f"s{next(_numbers)}",
                channel=channel,
                config={"url": url},
                wanted=filter_of(wanted),
                owner="muniment|ada",
                sealed_secret=self.sealer.seal(secret or new_secret(), subscription_id),
                now=datetime.now(UTC),
                timing=timing_of(timing or {}),
                expires_at=expires_at,
            )
        return subscription_id

    async def states(self) -> list[str]:
        """The ledger's states, oldest event first."""
        rows = await self.pool.fetch("SELECT state FROM delivery ORDER BY event_seq, subscription_id")
        return [row["state"] for row in rows]

    async def attempts(self) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.pool.fetch("SELECT * FROM attempt ORDER BY started_at, number")]

    async def settled(self, *expected: str) -> None:
        """Wait until the ledger's states are these."""

        async def check() -> bool:
            return sorted(await self.states()) == sorted(expected)

        await eventually(check)


def available(number: int = 1, model: str = "digits", **changes: Any) -> CloudEvent:
    """A version-available event."""
    location = {"bucket": "muniment-models", "key": "k", "version_id": "v"}
    payload = VersionAvailable.model_validate(
        {
            "publication_id": str(uuid.UUID(int=number)),
            "model": model,
            "number": number,
            "id": "sha256:" + f"{number:064x}",
            "branch": "main",
            "stability": "stable",
            "track": "production",
            "operator": "muniment|ada",
            "committed_at": "2026-11-23T12:00:00Z",
            "manifest": location,
            "files": [{"path": "a", "sha256": "a" * 64, "size": 1, "format": "safetensors", "location": location}],
            **changes,
        }
    )
    return CloudEvent(
        id=f"{model}-{number}",
        source="/muniment/registry",
        type=topics.VERSION_AVAILABLE.type,
        data=payload.model_dump_json(exclude_none=True).encode(),
        time="2026-11-23T12:00:00.000000Z",
        extensions={"partitionkey": model, "correlationid": str(uuid.UUID(int=number))},
    )


async def eventually(check: Callable[[], Awaitable[Any]], seconds: float = 20) -> Any:
    """Wait until `check()` answers something true; the deadline only guards against hanging."""
    async with asyncio.timeout(seconds):
        while not (found := await check()):
            await asyncio.sleep(0.01)
    return found


@pytest.fixture(scope="session")
async def notifier_template(parts: Parts) -> str:
    """The name of a migrated database to copy."""
    name = "notifier_template"
    connection = await asyncpg.connect(parts.postgres.dsn)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name}")
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    await migrate(parts.postgres.dsn.replace("/muniment?", f"/{name}?"), [SCHEMA])
    return name


@pytest.fixture
async def notifier(parts: Parts, notifier_template: str) -> AsyncIterator[Notifier]:
    name = f"notifier_{next(_numbers)}"
    connection = await asyncpg.connect(parts.postgres.dsn)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(connection.close)
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {notifier_template}")
        stack.push_async_callback(connection.execute, f"DROP DATABASE {name} WITH (FORCE)")
        dsn = parts.postgres.dsn.replace("/muniment?", f"/{name}?")
        pool = await open_pool(dsn, "notifier", max_size=8)
        stack.push_async_callback(pool.close)
        yield Notifier(dsn, pool)
