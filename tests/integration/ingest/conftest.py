"""Ingest on a real database: events through the real delivery, without a broker; objects in memory."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from prometheus_client import CollectorRegistry
from tests.conftest import Migrated

import muniment.ingest
import muniment.runtime.delivery as delivery
from muniment.adapters.memory import MemoryBlobStore
from muniment.adapters.postgres import Schema, open_pool
from muniment.contracts import signature, topics
from muniment.contracts.cloudevent import CloudEvent, content_event_id, encode
from muniment.contracts.errors import Unauthenticated
from muniment.contracts.identity import Principal
from muniment.contracts.ids import publication_id_of
from muniment.contracts.model import Payload
from muniment.ingest.app import following_table, routing_table
from muniment.ingest.cleaning import Cleaning
from muniment.ingest.files import FileFinder
from muniment.ingest.handlers import TrainingCompletedHandler
from muniment.ingest.http import router, sweep_router
from muniment.ingest.intake import Intake
from muniment.ingest.refusals import Refusals
from muniment.ingest.store import Store
from muniment.ingest.sweeping import Sweeping
from muniment.ingest.transfers import Transfers
from muniment.ingest.uploads import Uploads
from muniment.ingest.waiting import Waiters
from muniment.ports.blobs import ObjectVersion, StoreUnavailable
from muniment.ports.clock import SystemClock
from muniment.runtime.delivery.processor import Processor
from muniment.runtime.delivery.record import Record
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.http.app import build_app
from muniment.runtime.identity.producers import Producers
from muniment.runtime.metrics import Metrics
from muniment.runtime.settings import DeliverySettings, IngestSettings

MIGRATIONS = (
    Path(delivery.__path__[0]) / "sql" / "migrations",
    Path(muniment.ingest.__path__[0]) / "sql" / "migrations",
)
PREFIX = "test."
SOURCE = "//trainers.test/digits"
LANDING = "muniment-landing"
MODELS = "muniment-models"
OWN_TOPIC = "lab-a.training-completed"

PEOPLE = {
    "ada": Principal("muniment|ada", frozenset({"writer"}), "token"),
    "bob": Principal("muniment|bob", frozenset({"writer"}), "token"),
    "root": Principal("muniment|root", frozenset({"admin"}), "token"),
    "reader": Principal("muniment|reader", frozenset({"reader"}), "token"),
}

_offsets = itertools.count()


class People:
    """Takes a person's name for a token."""

    async def authenticate(self, token: str) -> Principal:
        if token not in PEOPLE:
            raise Unauthenticated("token_invalid", "no such token")
        return PEOPLE[token]


@dataclass(frozen=True)
class Signer:
    """A service account with a publisher key."""

    account: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    @property
    def kid(self) -> str:
        return signature.key_id(self.public_key)

    def sign(self, event: CloudEvent) -> tuple[str, bytes]:
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return signature.HEADER, signature.sign(event, pem)


@dataclass
class Keys:
    """The registered publisher keys."""

    signers: list[Signer] = field(default_factory=list)

    async def publisher_key(self, kid: str) -> Signer:
        for signer in self.signers:
            if signer.kid == kid:
                return signer
        raise Unauthenticated("signature_unknown_key", "nobody has registered this key", actual=kid)


class Blobs(MemoryBlobStore):
    """Objects in memory, in a store that can be away, and that counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.stats = 0

    async def stat(self, bucket: str, key: str, version_id: str | None = None) -> ObjectVersion:
        self.stats += 1
        if self.away:
            raise StoreUnavailable("store_unavailable", "the store does not answer")
        return await super().stat(bucket, key, version_id)


@dataclass
class Http:
    """A client of ingest's routes, and of the store's presigned URLs."""

    client: httpx2.AsyncClient
    blobs: Blobs

    async def call(self, method: str, path: str, *, as_: str = "ada", status: int, **given: Any) -> Any:
        """A request that must be answered with `status`; returns the JSON answer."""
        headers = {"authorization": f"Bearer {as_}", **given.pop("headers", {})}
        answer = await self.client.request(method, path, headers=headers, **given)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def begin(
        self, *files: dict[str, Any], key: str | None = None, as_: str = "ada", status: int = 201, **fields: Any
    ) -> Any:
        """POST /publications."""
        body = {"model": "digits", "files": list(files), **fields}
        headers = {} if key is None else {"idempotency-key": key}
        return await self.call("POST", "/publications", as_=as_, status=status, json=body, headers=headers)

    async def complete(self, publication_id: str, *files: dict[str, Any], as_: str = "ada", status: int = 202) -> Any:
        """POST /publications/{id}/complete."""
        path = f"/publications/{publication_id}/complete"
        return await self.call("POST", path, as_=as_, status=status, json={"files": list(files)})

    async def show(self, publication_id: str, status: int = 200) -> Any:
        """GET /publications/{id}."""
        return await self.call("GET", f"/publications/{publication_id}", as_="reader", status=status)

    async def put(self, slot: dict[str, Any], data: bytes) -> dict[str, Any]:
        """Upload a file as its slot says; returns what `complete` is told of it."""
        way = slot["upload"]
        if way["kind"] == "single":
            answer = await self.blobs.send(way["method"], way["url"], data)
            assert answer.status == 200
            return {"path": slot["path"], "version_id": answer.headers["x-amz-version-id"]}
        parts = [await self.put_part(way, part, data) for part in way["parts"] if not part["done"]]
        return {"path": slot["path"], "parts": parts}

    async def put_part(self, way: dict[str, Any], part: dict[str, Any], data: bytes) -> dict[str, Any]:
        """Upload one part."""
        start = (part["number"] - 1) * way["part_size"]
        answer = await self.blobs.send("PUT", part["url"], data[start : start + way["part_size"]])
        assert answer.status == 200
        return {"number": part["number"], "etag": answer.headers["etag"]}


@dataclass
class Ingest:
    """The service's parts, and what its tests ask."""

    pool: Any
    blobs: Blobs
    keys: Keys
    signer: Signer
    transactions: Transactions
    store: Store
    waiters: Waiters
    uploads: Uploads
    cleaning: Cleaning
    processor: Processor
    producers: Producers

    # -- making input

    async def land(self, data: bytes, key: str = "run-1/model.bin") -> dict[str, Any]:
        """Put bytes into the landing bucket; returns them as a declared file."""
        await self.blobs.put(LANDING, key, data)
        return {**declared(data, key.rpartition("/")[2]), "location": f"s3://{LANDING}/{key}"}

    def record(
        self, event: CloudEvent, *, sign: bool = True, topic: str | None = None, partition: int = 0, **headers: bytes
    ) -> Record:
        """An event as a Kafka record."""
        name = topic or f"{PREFIX}{event.type.removeprefix('muniment.')}"
        pairs, value = encode(event)
        extra = [self.signer.sign(event)] if sign and event.type == topics.TRAINING_COMPLETED.type else []
        given = [(name.replace("_", "-"), raw) for name, raw in headers.items()]
        return Record(name, partition, next(_offsets), b"digits", value, (*pairs, *extra, *given))

    async def take(self, *records: Record) -> None:
        """Process one batch."""
        await self.processor.process(records)

    async def publish(self, *files: dict[str, Any], event_id: str = "run-1", **fields: Any) -> str:
        """Publish a signed event and take it; returns the publication's id."""
        await self.take(self.record(training(*files, event_id=event_id, **fields)))
        return publication_id_of(SOURCE, event_id)

    async def tell(self, payload: Payload, event_id: str | None = None) -> None:
        """Take an event of another service."""
        await self.take(self.record(internal(payload, event_id)))

    # -- asking what happened

    async def publication(self, publication_id: str) -> dict[str, Any] | None:
        row = await self.pool.fetchrow("SELECT * FROM publication WHERE id = $1", publication_id)
        return None if row is None else dict(row)

    async def sent(self, topic: topics.Topic) -> list[dict[str, Any]]:
        """Payloads that wait in the outbox for a topic, in order."""
        rows = await self.pool.fetch(
            "SELECT payload FROM outbox WHERE aggregatetype = $1 ORDER BY seq", topic.wire_name(PREFIX)
        )
        return [json.loads(bytes(row["payload"])) for row in rows]

    async def audits(self) -> list[dict[str, Any]]:
        """Audit entries that were asked for, in order."""
        return await self.sent(topics.AUDIT_REQUESTED)

    async def dead_letters(self) -> list[str]:
        return [row["code"] for row in await self.pool.fetch("SELECT code FROM dead_letter ORDER BY created_at")]

    async def count(self, table: str) -> int:
        return int(await self.pool.fetchval(f"SELECT count(*) FROM {table}"))


def declared(data: bytes, path: str = "model.bin", **fields: Any) -> dict[str, Any]:
    """Bytes as a declared file without location."""
    return {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data), **fields}


def training(
    *files: dict[str, Any], event_id: str = "run-1", source: str = SOURCE, model: str = "digits", **fields: Any
) -> CloudEvent:
    """A training-completed event. Nothing of it is checked."""
    return CloudEvent(
        id=event_id,
        source=source,
        type=topics.TRAINING_COMPLETED.type,
        data=json.dumps({"model": model, "files": list(files), **fields}).encode(),
        time="2026-01-02T03:04:05Z",
    )


def internal(payload: Payload, event_id: str | None = None) -> CloudEvent:
    """An event of one of our services."""
    topic = topics.OF[type(payload)]
    data = payload.model_dump_json(exclude_none=True).encode()
    return CloudEvent(
        id=event_id or content_event_id(topic.type, data.decode()),
        source="/muniment/test",
        type=topic.type,
        data=data,
        time="2026-01-02T03:04:05Z",
    )


@pytest.fixture
async def ingest_dsn(migrated: Migrated) -> str:
    """A database with ingest's schema."""
    return await migrated([Schema("ingest", MIGRATIONS)])


@pytest.fixture
def settings() -> IngestSettings:
    """Small limits, so that tests need few bytes."""
    return IngestSettings(single_put_max=1024, part_size=5 * 1024**2)


@pytest.fixture
async def ingest(ingest_dsn: str, settings: IngestSettings) -> AsyncIterator[Ingest]:
    """Ingest with a signer `trainer`, whose keys are registered, and unsigned events refused."""
    pool = await open_pool(ingest_dsn, "ingest", max_size=8)
    blobs = Blobs()
    await blobs.ensure_bucket(MODELS, object_lock=True)
    await blobs.ensure_bucket(LANDING, object_lock=False)
    signer = Signer("trainer")
    keys = Keys([signer])
    transactions = Transactions(pool, "ingest", PREFIX, SystemClock(), lambda: True)
    store = Store(pool)
    waiters = Waiters()
    files = FileFinder(blobs, store, settings.landing_buckets, 8)
    transfers = Transfers(blobs, files, store, timedelta(hours=1))
    producers = Producers(keys, {OWN_TOPIC: "lab-a"}, allow_unsigned=False)
    handler = TrainingCompletedHandler(producers, files, store)
    routes = (*routing_table(handler, [OWN_TOPIC]), *following_table(store, waiters))
    processor = Processor("ingest", "ingest", routes, transactions, DeliverySettings(retry_scale=0.001))
    yield Ingest(
        pool,
        blobs,
        keys,
        signer,
        transactions,
        store,
        waiters,
        Uploads(store, transactions, files, transfers, settings, MODELS),
        Cleaning(store, transactions, transfers, timedelta(days=7)),
        processor,
        producers,
    )
    await pool.close()


@pytest.fixture
async def http(ingest: Ingest) -> AsyncIterator[Http]:
    """A client; the name in `as_` is its token."""
    async with client_of(ingest, Intake(ingest.pool)) as client:
        yield client


def sweeping_of(ingest: Ingest) -> Sweeping:
    """A sweep of whatever is older than this moment."""
    grace = timedelta(seconds=-2)  # stores tell times in whole seconds
    return Sweeping(ingest.store, ingest.transactions, ingest.blobs, SystemClock(), MODELS, grace)


@asynccontextmanager
async def client_of(ingest: Ingest, intake: Intake) -> AsyncIterator[Http]:
    """A client of ingest's routes behind these bounds."""
    app = build_app(
        version="0",
        routers=[
            router(ingest.store, ingest.uploads, ingest.waiters, intake, Refusals(ingest.transactions)),
            sweep_router(sweeping_of(ingest)),
        ],
        identity=People(),
        ready={},
        metrics=Metrics(CollectorRegistry()),
    )
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test/api/v1") as client:
        yield Http(client, ingest.blobs)
