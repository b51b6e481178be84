"""Seeded load by both ways in, some of it bad on purpose, and a journal of everything that was acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaProducer

from muniment.adapters.minio import MinioBlobStore
from muniment.contracts.errors import MunimentError, Rejected
from muniment.contracts.ids import publication_id_of
from muniment.sdk import AsyncClient
from muniment.sdk.event import training_completed

from .cluster import Cluster
from .facts import Acknowledged, End

SOURCE = "//trainers.example/faults"
MODELS = 12
WAYS = {"kafka": 10, "http": 5, "mismatch": 1, "twice": 1, "malformed": 1}
PATIENCE_S = 90.0


@dataclass
class Load:
    """Publications at a steady rate. Only what was acknowledged is in `acknowledged`; `sent` may be more."""

    cluster: Cluster
    seed: int
    acknowledged: list[Acknowledged]
    per_second: float
    sent: int = 0
    answered: int = 0
    _waiting: set[str] = field(default_factory=set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        """Publish until the block ends, and then wait until each is acknowledged, however often it has to be asked."""
        ending = asyncio.Event()
        publishing = asyncio.create_task(self._run(ending))
        try:
            yield self
            ending.set()
            async with asyncio.timeout(PATIENCE_S):
                await publishing
        except TimeoutError as error:
            if not ending.is_set():
                raise
            raise AssertionError(f"seed {self.seed}: not acknowledged in {PATIENCE_S} s: {self._waiting}") from error
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)

    async def taken(self, count: int) -> None:
        """Wait until `count` of this load's publications are acknowledged."""
        async with asyncio.timeout(PATIENCE_S):
            while self.answered < count:
                await asyncio.sleep(0.02)

    async def _run(self, ending: asyncio.Event) -> None:
        chance = random.Random(self.seed)
        async with AsyncExitStack() as stack:
            blobs = self.cluster.blobs()
            stack.push_async_callback(blobs.aclose)
            producer = AIOKafkaProducer(bootstrap_servers=self.cluster.parts.kafka.bootstrap, acks="all")
            await producer.start()
            stack.push_async_callback(producer.stop)
            replicas = range(len(self.cluster.replicas["ingest"]))
            clients = [
                await stack.enter_async_context(self.cluster.client("ingest", replica=number)) for number in replicas
            ]
            group = await stack.enter_async_context(asyncio.TaskGroup())
            while not ending.is_set():
                self.sent += 1
                data = chance.randbytes(chance.randint(1_000, 200_000))
                (way,) = chance.choices(list(WAYS), list(WAYS.values()))
                one = _Publication(f"{self.seed}-{self.sent}", f"model-{chance.randrange(MODELS)}", data, way)
                if way == "http":
                    publish = self._upload(clients, one)
                elif way == "malformed":
                    publish = self._malformed(producer, one)
                else:
                    publish = self._event(producer, blobs, one)
                group.create_task(self._journal(one, publish))
                await asyncio.sleep(1 / self.per_second)

    async def _journal(self, one: _Publication, publish: Coroutine[None, None, Acknowledged]) -> None:
        self._waiting.add(f"{one.name} by {one.way}")
        self.acknowledged.append(await publish)
        self.answered += 1
        self._waiting.discard(f"{one.name} by {one.way}")

    async def _event(self, producer: AIOKafkaProducer, blobs: MinioBlobStore, one: _Publication) -> Acknowledged:
        place = await blobs.put(self.cluster.landing, f"{one.name}.bin", one.data)
        file = {
            "path": "model.bin",
            "size": len(one.data),
            "sha256": hashlib.sha256(one.data if one.way != "mismatch" else b"other").hexdigest(),
            "location": f"s3://{place.bucket}/{place.key}",
        }
        record = training_completed(one.model, [file], source=SOURCE, run_id=one.name, topic_prefix=self.cluster.prefix)
        for _ in range(2 if one.way == "twice" else 1):
            await producer.send_and_wait(record.topic, key=record.key, value=record.value, headers=record.headers)
        end: End = "rejection" if one.way == "mismatch" else "version"
        return Acknowledged(publication_id_of(SOURCE, record.event_id), one.model, end)

    async def _malformed(self, producer: AIOKafkaProducer, one: _Publication) -> Acknowledged:
        value = b'{"model": "cut' + one.name.encode()
        await producer.send_and_wait(f"{self.cluster.prefix}training-completed.v1", value=value)
        return Acknowledged(hashlib.sha256(value).hexdigest(), "", "dead letter")

    async def _upload(self, clients: list[AsyncClient], one: _Publication) -> Acknowledged:
        """Ask with one key until an answer comes, one replica after another: after none, the key tells the outcome."""
        file = self.cluster.folder / f"upload-{one.name}" / "model.bin"
        await asyncio.to_thread(_write, file, one.data)
        for client in itertools.cycle(clients):
            try:
                done = await client.publish(
                    file.parent, model=one.model, run_id=one.name, idempotency_key=f"key-{one.name}", wait=False
                )
            except Rejected:
                raise  # nothing is wrong with it: asking again would hide that
            except (MunimentError, OSError):
                await asyncio.sleep(0.2)
            else:
                return Acknowledged(done.id, one.model, "version")
        raise AssertionError("no replica of ingest")


@dataclass(frozen=True)
class _Publication:
    name: str
    model: str
    data: bytes = field(repr=False)
    way: str


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
