"""All services as the composition root builds them, on one real Postgres; objects in memory, and no broker between."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from prometheus_client import CollectorRegistry

from muniment.adapters.kafka import KafkaConnection
from muniment.adapters.memory import MemoryBlobStore
from muniment.adapters.postgres import open_pool
from muniment.contracts import topics
from muniment.contracts.identity import Role
from muniment.ports.blobs import ObjectVersion
from muniment.ports.clock import SystemClock
from muniment.runtime.delivery.header_text import unpack_headers
from muniment.runtime.delivery.record import Record
from muniment.runtime.http.app import build_app
from muniment.runtime.http.openapi import Api
from muniment.runtime.identity.first_admin import ensure_first_admin
from muniment.runtime.identity.store import Identity
from muniment.runtime.metrics import Metrics
from muniment.runtime.settings import Settings
from muniment.server.endpoints import Endpoints
from muniment.server.stack import Started, build, routers_of
from muniment.server.wiring import chosen, schemas
from tests.conftest import Migrated

MODELS, LANDING = "muniment-models", "muniment-landing"
_offsets = itertools.count()


@dataclass
class Whole:
    """A whole registry. `entries` are the audit requests in the services' outboxes, in their order."""

    services: dict[str, Started]
    database: asyncpg.Connection[Any]
    blobs: MemoryBlobStore
    app: Api
    http: httpx2.AsyncClient
    tokens: dict[str, str]
    driven: set[str] = field(default_factory=set)
    _pumped: dict[str, int] = field(default_factory=dict)

    async def entries(self) -> list[dict[str, Any]]:
        found = []
        for one in self.services.values():
            rows = await self.database.fetch(
                f"SELECT id, payload FROM {one.service.schema}.outbox WHERE type = $1 ORDER BY seq",
                topics.AUDIT_REQUESTED.type,
            )
            found += [{"event_id": str(row["id"]), **json.loads(bytes(row["payload"]))} for row in rows]
        return found

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        as_: str = "root",
        status: tuple[int, ...] = (200, 201, 202, 204),
    ) -> Any:
        """A request; returns the JSON answer."""
        headers = {"authorization": f"Bearer {self.tokens[as_]}"}
        answer = await self.http.request(method, path, json=body, headers=headers)
        assert answer.status_code in status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def new(self, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The entries since."""
        known = {entry["event_id"] for entry in before}
        return [entry for entry in await self.entries() if entry["event_id"] not in known]

    async def pump(self) -> None:
        """Carry what the outboxes hold to those who consume it, until nothing is left to carry."""
        carried = True
        while carried:
            carried = False
            for name, one in self.services.items():
                rows = await self.database.fetch(
                    f"SELECT * FROM {one.service.schema}.outbox WHERE seq > $1 ORDER BY seq", self._pumped.get(name, 0)
                )
                for row in rows:
                    self._pumped[name] = row["seq"]
                    await self.take(
                        row["aggregatetype"],
                        bytes(row["payload"]),
                        tuple(unpack_headers(row["headers"])),
                        row["aggregateid"].encode(),
                    )
                carried = carried or bool(rows)

    async def take(
        self, topic: str, value: bytes, headers: Any, key: bytes = b"digits", only: str | None = None
    ) -> None:
        """Hand a record to the services that consume its topic."""
        for name, one in self.services.items():
            for processor in one.processors:
                if topic in processor.topics and only in (None, name):
                    await processor.process([Record(topic, 0, next(_offsets), key, value, headers)])

    async def land(self, data: bytes) -> dict[str, Any]:
        """Bytes in the landing bucket, as a declared file."""
        digest = hashlib.sha256(data).hexdigest()
        await self.blobs.put(LANDING, f"{digest}/model.bin", data)
        location = f"s3://{LANDING}/{digest}/model.bin"
        return {"path": "model.bin", "sha256": digest, "size": len(data), "location": location}

    async def uploaded(self, data: bytes, sha256: str) -> ObjectVersion:
        """Bytes put where direct uploads go."""
        return await self.blobs.put(MODELS, f"blobs/sha256/{sha256[:2]}/{sha256}", data)

    async def damaged(self, model: str, number: int) -> None:
        """As the scrubber leaves it when it has found the version's bytes changed."""
        found = await self.database.execute(
            """UPDATE registry.stored_object SET damaged_at = now(), damage_code = 'bytes_damaged', damage_actual = 'x'
            WHERE id IN (SELECT object_id FROM registry.version_file f JOIN registry.model m ON m.id = f.model_id
                         WHERE m.name = $1 AND f.number = $2)""",
            model,
            number,
        )
        assert found == "UPDATE 1", found

    async def unlock(self) -> None:
        """Let every lock so far have ended: in the table, and in the store."""
        rows = await self.database.fetch(
            "UPDATE registry.stored_object SET locked_until = '2000-01-01Z' RETURNING bucket, key, version_id"
        )
        for row in rows:
            self.blobs._objects.find(row["bucket"], row["key"], row["version_id"]).lock = None


@pytest.fixture
async def whole(migrated: Migrated, tmp_path: Path) -> AsyncIterator[Whole]:
    """A whole registry with nothing in it, and a token for each role."""
    settings = Settings.model_validate({"data_dir": tmp_path})
    postgres_dsn = await migrated(schemas(chosen(())))
    endpoints = Endpoints(KafkaConnection("127.0.0.1:1"), postgres_dsn, "", "", "", "")
    async with AsyncExitStack() as stack:
        metrics = Metrics(CollectorRegistry())
        blobs = MemoryBlobStore()
        await blobs.ensure_bucket(MODELS, object_lock=True)
        await blobs.ensure_bucket(LANDING, object_lock=False)
        asking = await open_pool(postgres_dsn, "identity", max_size=4)
        stack.push_async_callback(asking.close)
        identity = Identity(asking, SystemClock())
        stack.push_async_callback(identity.settle)
        started = [await build(one, settings, endpoints, blobs, identity, metrics, stack) for one in chosen(())]
        app = build_app(
            version="0", routers=routers_of(started, identity), identity=identity, ready={}, metrics=metrics
        )
        http = await stack.enter_async_context(
            httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test/api/v1")
        )
        database = await asyncpg.connect(postgres_dsn)
        stack.push_async_callback(database.close)
        services = {one.service.name: one for one in started}
        credentials = tmp_path / "credentials.json"
        await ensure_first_admin(services["registry"].transactions, credentials, "http://test")
        tokens = {"root": json.loads(credentials.read_text())["token"]}
        whole = Whole(services, database, blobs, app, http, tokens)
        people: dict[str, Role] = {"ada": "writer", "pam": "promoter", "rae": "reader"}
        for name, role in people.items():
            tokens[name] = (await whole.ask("POST", "/tokens", {"name": name, "roles": [role]}))["token"]
        yield whole
