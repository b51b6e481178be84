"""The registry on a real database: its commits through the real delivery, its HTTP routes; objects in memory."""

from __future__ import annotations

import hashlib
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

import muniment.registry
import muniment.runtime.delivery as delivery
from muniment.adapters.memory import MemoryBlobStore
from muniment.adapters.postgres import Schema, migrate, open_pool
from muniment.contracts import signature, topics
from muniment.contracts.cloudevent import CloudEvent, encode
from muniment.contracts.errors import Unauthenticated
from muniment.contracts.events import ModelValidated
from muniment.contracts.identity import Principal, Role
from muniment.ports.clock import SystemClock
from muniment.registry.app import service
from muniment.runtime.delivery.processor import Processor
from muniment.runtime.delivery.record import Record
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.http.app import build_app
from muniment.runtime.metrics import Metrics
from muniment.runtime.service import Deps
from muniment.runtime.settings import DeliverySettings, Settings
from muniment.sdk import new_publisher_key
from muniment.sdk.event import KafkaRecord
from muniment.server.parts import Parts

MIGRATIONS = (
    Path(delivery.__path__[0]) / "sql" / "migrations",
    Path(muniment.registry.__path__[0]) / "sql" / "migrations",
)
PREFIX = "test."
BUCKET = "muniment-models"
_offsets = itertools.count()

_ROLES: dict[str, Role] = {"ada": "writer", "bob": "writer", "pam": "promoter", "rob": "promoter", "rae": "reader"}


class People:
    """Takes a person's name for a token."""

    async def authenticate(self, token: str) -> Principal:
        if token == "root":
            return Principal("muniment|root", frozenset({"admin"}), "token")
        if token not in _ROLES:
            raise Unauthenticated("token_invalid", "no such token")
        return Principal(f"muniment|{token}", frozenset({_ROLES[token]}), "token")


@dataclass(frozen=True)
class Key:
    """A registered publisher key."""

    account: str
    public_key: bytes
    private_pem: bytes


class Keys:
    """The registered publisher keys."""

    def __init__(self) -> None:
        self._keys: dict[str, Key] = {}

    def register(self, account: str) -> Key:
        """A new key of an account."""
        pair = new_publisher_key()
        key = Key(account, signature.public_key_of_pem(pair.public_pem), pair.private_pem)
        self._keys[signature.key_id(key.public_key)] = key
        return key

    async def publisher_key(self, kid: str) -> Key:
        if kid not in self._keys:
            raise Unauthenticated("signature_unknown_key", "nobody has registered this key", actual=kid)
        return self._keys[kid]


@dataclass
class Registry:
    """The service, and what its tests do and ask. Model names are the test's own: the database is new for each."""

    pool: Any
    blobs: MemoryBlobStore
    transactions: Transactions
    processor: Processor
    client: httpx2.AsyncClient
    app: FastAPI
    keys: Keys

    async def commit(
        self,
        model: str = "digits",
        branch: str = "main",
        *,
        files: Mapping[str, bytes] | None = None,
        facts: Mapping[str, Any] | None = None,
        operator: str = "muniment|ada",
        track: str | None = None,
        formats: Mapping[str, str] | None = None,
        **metrics: float,
    ) -> dict[str, Any]:
        """Commit a version as a validated publication; returns it as HTTP shows it. Each call makes another one."""
        publication = str(uuid.uuid4())
        await self.take(
            await self.validated(
                model,
                branch,
                publication=publication,
                files=files,
                facts={"run_id": publication, "metrics": metrics, **(facts or {})},
                operator=operator,
                track=track,
                formats=formats,
            )
        )
        number = await self.pool.fetchval(
            "SELECT m.name || '/' || number FROM version v JOIN model m ON m.id = v.model_id WHERE publication_id = $1",
            uuid.UUID(publication),
        )
        assert number is not None, (await self.sent(topics.MODEL_REJECTED))[-1:] or await self.dead_letters()
        return dict(await self.get("/resolve", ref=number))

    async def validated(
        self,
        model: str,
        branch: str,
        *,
        publication: str,
        files: Mapping[str, bytes] | None = None,
        facts: Mapping[str, Any] | None = None,
        operator: str = "muniment|ada",
        track: str | None = None,
        formats: Mapping[str, str] | None = None,
    ) -> ModelValidated:
        """A validated publication whose bytes lie in the store."""
        held = []
        for path, data in (files or {"model.bin": publication.encode()}).items():
            digest = hashlib.sha256(data).hexdigest()
            place = await self.blobs.put(BUCKET, f"blobs/sha256/{digest[:2]}/{digest}", data)
            held.append(
                {
                    "path": path,
                    "sha256": digest,
                    "size": len(data),
                    "format": (formats or {}).get(path, "unknown"),
                    "location": {"bucket": place.bucket, "key": place.key, "version_id": place.version_id},
                }
            )
        return ModelValidated.model_validate(
            {
                "publication_id": publication,
                "model": model,
                "branch": branch,
                "operator": operator,
                "authenticated_by": "token",
                "facts": dict(facts or {}),
                "files": held,
                "track": track,
            }
        )

    async def take(self, *publications: ModelValidated) -> None:
        """Process validated publications as one batch of records."""
        await self.processor.process([_record(publication) for publication in publications])

    async def take_sent(self, *sent: KafkaRecord) -> None:
        """Process what strangers have sent, as one batch of records."""
        await self.processor.process(
            [Record(one.topic, 0, next(_offsets), one.key, one.value, tuple(one.headers)) for one in sent]
        )

    async def call(self, method: str, path: str, *, as_: str = "root", status: int = 200, **given: Any) -> Any:
        """A request that must be answered with `status`; returns the JSON answer."""
        headers = {"authorization": f"Bearer {as_}", **given.pop("headers", {})}
        answer = await self.client.request(method, path, headers=headers, **given)
        assert answer.status_code == status, f"{answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def get(self, path: str, *, as_: str = "rae", status: int = 200, **query: Any) -> Any:
        """GET with a query."""
        given = {name: value for name, value in query.items() if value is not None}
        return await self.call("GET", path, as_=as_, status=status, params=given)

    async def post(self, path: str, *, as_: str = "root", status: int = 200, **body: Any) -> Any:
        """POST with a JSON body."""
        return await self.call("POST", path, as_=as_, status=status, json=body)

    async def refused(self, method: str, path: str, code: str, *, as_: str = "root", **given: Any) -> dict[str, Any]:
        """A request that must be refused with this code; returns the problem."""
        headers = {"authorization": f"Bearer {as_}", **given.pop("headers", {})}
        answer = await self.client.request(method, path, headers=headers, **given)
        problem = answer.json()
        assert answer.status_code >= 400, problem
        assert problem["code"] == code, problem
        return dict(problem)

    async def sent(self, topic: topics.Topic) -> list[dict[str, Any]]:
        """Payloads that wait in the outbox for a topic, in order."""
        rows = await self.pool.fetch(
            "SELECT payload FROM outbox WHERE aggregatetype = $1 ORDER BY seq", topic.wire_name(PREFIX)
        )
        return [json.loads(bytes(row["payload"])) for row in rows]

    async def audits(self, action: str | None = None) -> list[dict[str, Any]]:
        """Audit entries that were asked for, in order."""
        return [one for one in await self.sent(topics.AUDIT_REQUESTED) if action in (None, one["action"])]

    async def dead_letters(self) -> Sequence[str]:
        """Reasons."""
        return [row["reason"] for row in await self.pool.fetch("SELECT reason FROM dead_letter ORDER BY created_at")]


def _record(publication: ModelValidated) -> Record:
    topic = topics.MODEL_VALIDATED
    event = CloudEvent(
        id=str(uuid.uuid4()),
        source="/muniment/checksum-validator",
        type=topic.type,
        data=publication.model_dump_json(exclude_none=True).encode(),
        time="2026-01-02T03:04:05Z",
        extensions={"partitionkey": publication.model, "correlationid": publication.publication_id},
    )
    headers, value = encode(event)
    return Record(topic.wire_name(PREFIX), 0, next(_offsets), publication.model.encode(), value, tuple(headers))


@pytest.fixture(scope="session")
async def registry_template(parts: Parts) -> str:
    """The name of a migrated database to copy."""
    name = "registry_template"
    connection = await asyncpg.connect(parts.postgres.dsn)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name}")
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    await migrate(parts.postgres.dsn.replace("/muniment?", f"/{name}?"), [Schema("registry", MIGRATIONS)])
    return name


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of the service."""
    return Settings.model_validate({"data_dir": tmp_path, "s3": {"bucket": BUCKET}})


@pytest.fixture
async def registry(parts: Parts, registry_template: str, settings: Settings) -> AsyncIterator[Registry]:
    """The registry, with nothing in it."""
    async with open_registry(parts, registry_template, settings, MemoryBlobStore()) as registry:
        yield registry


@asynccontextmanager
async def open_registry(
    parts: Parts, registry_template: str, settings: Settings, blobs: Any
) -> AsyncIterator[Registry]:
    """The registry on a store, with nothing in it."""
    name = f"registry_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(parts.postgres.dsn)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {registry_template}")
        pool = await open_pool(parts.postgres.dsn.replace("/muniment?", f"/{name}?"), "registry", max_size=8)
        try:
            await blobs.ensure_bucket(BUCKET, object_lock=True)
            transactions = Transactions(pool, "registry", PREFIX, SystemClock(), lambda: True)
            metrics = Metrics(CollectorRegistry())
            keys = Keys()
            deps = Deps(settings, pool, transactions, blobs, keys, SystemClock(), metrics)  # type: ignore[arg-type]  # reason: the registry asks for publisher keys alone
            built = service.build(deps)
            assert built.router is not None
            processor = Processor(
                "registry", "registry", built.routes, transactions, DeliverySettings(retry_scale=0.001)
            )
            app = build_app(version="0", routers=[built.router], identity=People(), ready={}, metrics=metrics)
            transport = httpx2.ASGITransport(app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://test/api/v1") as client:
                yield Registry(pool, blobs, transactions, processor, client, app, keys)
        finally:
            await pool.close()
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


@pytest.fixture
async def fresh(parts: Parts, registry_template: str) -> AsyncIterator[str]:
    """The DSN of another, empty registry."""
    name = f"rebuilt_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(parts.postgres.dsn)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {registry_template}")
        yield parts.postgres.dsn.replace("/muniment?", f"/{name}?")
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()
