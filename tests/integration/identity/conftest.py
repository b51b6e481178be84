"""Identities on a real Postgres, behind the HTTP API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from prometheus_client import CollectorRegistry

import muniment.runtime.delivery as delivery
import muniment.runtime.identity as identity_package
from muniment.adapters.postgres import Schema, open_pool
from muniment.contracts.events import Cause
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.http.app import build_app
from muniment.runtime.identity.first_admin import ensure_first_admin
from muniment.runtime.identity.http import router
from muniment.runtime.identity.store import Identity
from muniment.runtime.metrics import Metrics
from tests.conftest import Migrated

IDENTITY = Path(identity_package.__path__[0]) / "sql" / "migrations"
DELIVERY = Path(delivery.__path__[0]) / "sql" / "migrations"
SCHEMAS = [Schema("identity", (IDENTITY,)), Schema("registry", (DELIVERY,)), Schema("ingest", (DELIVERY,))]
URL = "http://127.0.0.1:8686"
CAUSE = Cause(kind="request", id="test")


@dataclass
class Clock:
    """The wall clock, moved by tests."""

    moved: timedelta = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.moved


@dataclass
class Host:
    """The process that hosts the management of identities, and what a test looks at."""

    dsn: str
    clock: Clock
    registry: asyncpg.Pool[Any]
    transactions: Transactions
    identity: Identity
    http: httpx2.AsyncClient
    path: Path

    async def start(self) -> str:
        return await ensure_first_admin(self.transactions, self.path, URL)

    @property
    def admin(self) -> dict[str, str]:
        return bearer(json.loads(self.path.read_text())["token"])

    async def make(self, name: str, *roles: str, **more: Any) -> str:
        answer = await self.http.post("/tokens", json={"name": name, "roles": roles, **more}, headers=self.admin)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    async def code_of(self, token: str) -> str:
        return str((await self.http.get("/tokens", headers=bearer(token))).json().get("code", "ok"))

    async def audit(self) -> list[dict[str, Any]]:
        rows = await self.registry.fetch("SELECT payload FROM outbox ORDER BY seq")
        return [json.loads(row["payload"]) for row in rows]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
async def postgres_dsn(migrated: Migrated) -> str:
    """A database with the schemas that identities need."""
    return await migrated(SCHEMAS)


@pytest.fixture
async def host(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Host]:
    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(await open_pool(postgres_dsn, "registry", max_size=8))
        asking = await stack.enter_async_context(await open_pool(postgres_dsn, "identity", max_size=4))
        clock = Clock()
        transactions = Transactions(registry, "registry", "muniment.", clock, lambda: True)
        identity = Identity(asking, clock)
        app = build_app(
            version="1",
            routers=[router(identity, transactions)],
            identity=identity,
            ready={},
            metrics=Metrics(CollectorRegistry()),
        )
        transport = httpx2.ASGITransport(app=app)
        http = await stack.enter_async_context(httpx2.AsyncClient(transport=transport, base_url="http://test/api/v1"))
        stack.push_async_callback(identity.settle)
        host = Host(postgres_dsn, clock, registry, transactions, identity, http, tmp_path / "data" / "credentials.json")
        assert await host.start() == "created"
        yield host
