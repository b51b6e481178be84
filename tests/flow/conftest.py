"""All services on the real parts, in this process; and the outsiders who use them."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from muniment.contracts import topics
from muniment.contracts.ids import publication_id_of
from muniment.contracts.topics import Topic
from muniment.runtime.delivery import refusal_rules
from muniment.runtime.settings import Settings
from muniment.sdk import AsyncClient
from muniment.sdk.event import KafkaRecord, training_completed
from muniment.server.endpoints import endpoints_of
from muniment.server.parts import Parts
from muniment.server.stack import Endpoints, running_stack
from muniment.server.store import open_store
from muniment.server.wiring import chosen
from tests.conftest import new_database

from .bad_input import Door, HttpWay, Intake, KafkaWay, Way

_numbers = itertools.count(1)
SOURCE = "//trainers.example/tests"


@dataclass
class Outside:
    """A registry seen from outside: its clients, and everything that has passed on its topics."""

    settings: Settings
    endpoints: Endpoints
    client: AsyncClient
    url: str
    token: str
    producer: AIOKafkaProducer
    store: Any
    seen: list[ConsumerRecord[bytes, bytes]] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def prefix(self) -> str:
        return self.settings.kafka.topic_prefix

    @property
    def landing(self) -> str:
        return next(iter(self.settings.ingest.landing_buckets))

    async def land(self, name: str, data: bytes) -> dict[str, Any]:
        """Put bytes into the landing bucket; returns the file as an event declares it."""
        place = await self.store.put(self.landing, f"{next(_numbers)}/{name}", data)
        return {
            "path": name,
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "location": f"s3://{place.bucket}/{place.key}",
        }

    def event(self, model: str, files: Sequence[dict[str, Any]], **options: Any) -> tuple[KafkaRecord, str]:
        """A training-completed record and the publication id that it starts."""
        options.setdefault("source", SOURCE)
        record = training_completed(model, files, topic_prefix=self.prefix, **options)
        return record, publication_id_of(options["source"], record.event_id)

    async def send(self, record: KafkaRecord) -> None:
        await self.producer.send_and_wait(record.topic, key=record.key, value=record.value, headers=record.headers)

    async def send_raw(self, headers: Any, value: bytes | None, key: bytes = b"digits") -> None:
        topic = topics.TRAINING_COMPLETED.wire_name(self.prefix)
        await self.producer.send_and_wait(topic, key=key, value=value, headers=headers)

    def records(self, topic: Topic, flow: str | None = None) -> list[ConsumerRecord[bytes, bytes]]:
        """What was seen on a topic, of one publication or of all."""
        name = topic.wire_name(self.prefix)
        return [r for r in self.seen if r.topic == name and (flow is None or header(r, "ce_correlationid") == flow)]

    async def until(self, found: Callable[[], Any], seconds: float = 40) -> Any:
        """What `found()` answers once that is something, looked at after every record that arrives."""
        async with asyncio.timeout(seconds):
            while not (answer := found()):
                self._arrived.clear()
                await self._arrived.wait()
        return answer

    async def until_seen(self, topic: Topic, flow: str) -> dict[str, Any]:
        """The data of a publication's first event on a topic."""
        record = await self.until(lambda: self.records(topic, flow))
        return dict(json.loads(record[0].value))

    async def until_audited(self, resource: str, action: str) -> dict[str, Any]:
        """The audit entry of an operation, from the topic that mirrors the log."""

        def found() -> dict[str, Any] | None:
            for record in self.records(topics.AUDIT_LOG):
                entry = json.loads(record.value)["entry"]
                if entry["action"] == action and entry["resource"] == resource:
                    return dict(entry)
            return None

        return dict(await self.until(found))

    async def dead_letters(self) -> list[dict[str, Any]]:
        connection = await asyncpg.connect(self.endpoints.postgres_dsn)
        try:
            return [dict(row) for row in await connection.fetch("SELECT * FROM ingest.dead_letter ORDER BY created_at")]
        finally:
            await connection.close()

    async def read(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            self.seen.append(record)
            self._arrived.set()


def header(record: ConsumerRecord[bytes, bytes], name: str) -> str | None:
    """A header's text."""
    return next((value.decode() for key, value in record.headers if key == name), None)


def stack_settings(folder: Path, **changes: Any) -> Settings:
    """Settings of a stack with names of its own, short locks and quick retries."""
    number = f"{os.getpid()}-{next(_numbers)}"
    values: dict[str, Any] = {
        "data_dir": folder,
        "http": {"port": 0},
        "kafka": {"topic_prefix": f"f{number}.", "group_prefix": f"f{number}.", "partitions": 3},
        "s3": {"bucket": f"models-{number}"},
        "audit": {"bucket": f"audit-{number}", "retention_s": 60},
        "ingest": {"landing_buckets": [f"landing-{number}"]},
        "registry": {
            "production": {"retention_s": 60},
            "experimental": {"retention_s": 30},
            "retention_margin_s": 1,
        },
        "validator": {"retry_base_s": 0.05},
        "delivery": {"retry_scale": 0.02},
        "notifier": {"retry_scale": 0.01},
    }
    for section, given in changes.items():
        values[section] = {**values.get(section, {}), **given} if isinstance(given, dict) else given
    return Settings.model_validate(values)


@asynccontextmanager
async def outside(settings: Settings, endpoints: Endpoints, url: str) -> AsyncIterator[Outside]:
    """Clients of a stack that answers at `url`."""
    token = json.loads((settings.data_dir / "credentials.json").read_text())["token"]
    names = [topic.wire_name(settings.kafka.topic_prefix) for topic in topics.ALL]
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(settings, endpoints))
        producer = AIOKafkaProducer(bootstrap_servers=endpoints.kafka.bootstrap, max_request_size=4 * 1024 * 1024)
        await producer.start()
        stack.push_async_callback(producer.stop)
        consumer = AIOKafkaConsumer(
            *names,
            bootstrap_servers=endpoints.kafka.bootstrap,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=2**22,
        )
        await consumer.start()
        stack.push_async_callback(consumer.stop)
        client = AsyncClient(url, token)
        stack.push_async_callback(client.aclose)
        seen = Outside(settings, endpoints, client, url, token, producer, store)
        reading = asyncio.create_task(seen.read(consumer))
        stack.callback(reading.cancel)
        yield seen


@pytest.fixture(scope="module", autouse=True)
def refusals_one_by_one() -> Iterator[None]:
    """Each refused request has an entry of its own, however many of them a minute's tests make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refusal_rules, "ONE_BY_ONE", 1_000_000)
        yield


@pytest.fixture(scope="session")
async def registry(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Outside]:
    """One running registry for all tests that only use it. Use model names of your own."""
    settings = stack_settings(tmp_path_factory.mktemp("stack"))
    endpoints = endpoints_of(parts)
    endpoints = type(endpoints)(**{**_fields(endpoints), "postgres_dsn": await new_database(parts)})
    async with (
        running_stack(settings, endpoints, chosen(()), lambda _: None) as running,
        outside(settings, endpoints, running.url) as seen,
    ):
        yield seen


@pytest.fixture(scope="session")
def intake(registry: Outside) -> Intake:
    """Anything at all as an event."""
    return Intake(registry)


@pytest.fixture(scope="session")
async def door(intake: Intake) -> AsyncIterator[Door]:
    """Anything at all as a request."""
    headers = {"authorization": f"Bearer {intake.registry.token}"}
    base = f"{intake.registry.url}/api/v1"
    async with httpx2.AsyncClient(base_url=base, headers=headers, timeout=30) as http:
        yield Door(intake, http)


@pytest.fixture(scope="session", params=["event", "request"])
def way(request: pytest.FixtureRequest, intake: Intake, door: Door) -> Way:
    """Each of the ways in."""
    return KafkaWay(intake) if request.param == "event" else HttpWay(intake, door)


def _fields(endpoints: Endpoints) -> dict[str, Any]:
    return {name: getattr(endpoints, name) for name in endpoints.__dataclass_fields__}


def model_folder(folder: Path, text: str = "weights") -> Path:
    """A small publishable folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.bin").write_bytes(text.encode())
    (folder / "config.json").write_text('{"layers": 2}')
    return folder
