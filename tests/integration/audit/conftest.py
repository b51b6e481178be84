"""The audit service's log on a real database, without a broker: requests go straight to its handler."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import pytest

import muniment.audit
import muniment.runtime.delivery as delivery
from muniment.adapters.postgres import Schema, migrate, open_pool
from muniment.audit.handlers import AppendEntries
from muniment.audit.lease import WriterLease
from muniment.contracts.cloudevent import CloudEvent
from muniment.contracts.codec import parse
from muniment.contracts.events import AuditRequested
from muniment.runtime.delivery.incoming import Incoming, Place
from muniment.runtime.delivery.transaction import Transactions
from muniment.server.parts import Parts

Session: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
_numbers = itertools.count(1)
SCHEMA = Schema(
    "audit",
    (Path(delivery.__path__[0]) / "sql/migrations", Path(muniment.audit.__path__[0]) / "sql/migrations"),
)


@dataclass
class SetClock:
    """A clock that a test sets."""

    moment: datetime = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def move(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


def incoming(event_id: str, correlation: str | None = None, **changes: Any) -> Incoming[AuditRequested]:
    """A valid audit request as delivery hands it over; `changes` replace its fields."""
    fields: dict[str, Any] = {
        "action": "version.committed",
        "service": "registry",
        "operator": "muniment|alice",
        "authenticated_by": "token",
        "model": "digits",
        "resource": "models/digits/versions/3",
        "cause": {"kind": "request", "id": "r-1"},
        "occurred_at": "2026-05-17T11:59:59Z",
        **changes,
    }
    extensions = {} if correlation is None else {"correlationid": correlation}
    event = CloudEvent(event_id, "/muniment/registry", "muniment.audit-requested.v1", b"{}", extensions=extensions)
    return Incoming(event, parse(AuditRequested, fields), Place("muniment.audit-requested.v1", 0, 0), 1)


@dataclass
class Writer:
    """One audit process, as far as its handler and lease go."""

    pool: asyncpg.Pool[Any]
    lease: WriterLease
    clock: SetClock
    handler: AppendEntries = field(init=False)
    transactions: Transactions = field(init=False)

    def __post_init__(self) -> None:
        self.handler = AppendEntries(self.lease)
        self.transactions = Transactions(self.pool, "audit", "muniment.", self.clock, lambda: True)

    async def prepare(self, items: Sequence[Incoming[AuditRequested]]) -> list[tuple[Incoming[AuditRequested], Any]]:
        return [(item, await self.handler.prepare(item)) for item in items]

    async def append(self, *items: Incoming[AuditRequested]) -> None:
        """The items as one micro-batch."""
        prepared = await self.prepare(items)
        async with self.transactions.begin() as tx:
            await self.handler.apply(tx, prepared)


@dataclass
class Log:
    """A migrated database, and writers on it."""

    dsn: str
    stack: AsyncExitStack
    clock: SetClock = field(default_factory=SetClock)

    async def writer(self, **lease: float) -> Writer:
        """A writer with a pool of its own. `lease`: its times, in seconds."""
        pool = await open_pool(self.dsn, "audit", max_size=4)
        self.stack.push_async_callback(pool.close)
        held = WriterLease(pool, **lease)
        self.stack.push_async_callback(held.release)
        return Writer(pool, held, self.clock)

    @asynccontextmanager
    async def superuser(self) -> AsyncIterator[Session]:
        """A session of the database's owner, who is a superuser."""
        session = await asyncpg.connect(self.dsn, server_settings={"search_path": "audit"})
        try:
            yield session
        finally:
            await session.close()


@pytest.fixture(scope="session")
async def template(parts: Parts) -> str:
    """The name of a migrated database, to be copied: that is quicker than migrating for each test."""
    name = f"audit_{os.getpid()}"
    await _execute(parts, f"CREATE DATABASE {name}")
    await migrate(_dsn(parts, name), [SCHEMA])
    return name


@pytest.fixture
async def log(parts: Parts, template: str) -> AsyncIterator[Log]:
    """An empty log of the test's own."""
    async with new_log(parts, template) as own:
        yield own


@pytest.fixture(scope="module")
async def shared_log(parts: Parts, template: str) -> AsyncIterator[Log]:
    """A log that the module's tests fill once and leave as it is."""
    async with new_log(parts, template) as shared:
        yield shared


@asynccontextmanager
async def new_log(parts: Parts, template: str) -> AsyncIterator[Log]:
    """An empty log in a database of its own."""
    name = f"{template}_{next(_numbers)}"
    await _execute(parts, f"CREATE DATABASE {name} TEMPLATE {template}")
    async with AsyncExitStack() as stack:
        yield Log(_dsn(parts, name), stack)


async def _execute(parts: Parts, statement: str) -> None:
    connection = await asyncpg.connect(parts.postgres.dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _dsn(parts: Parts, database: str) -> str:
    return parts.postgres.dsn.replace("/muniment?", f"/{database}?")


@pytest.fixture
async def writer(log: Log) -> Writer:
    return await log.writer()


@pytest.fixture
async def superuser(log: Log) -> AsyncIterator[Session]:
    async with log.superuser() as session:
        yield session
