"""Seeded load by both ways in, some of it bad on purpose, and a journal of everything that was acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
import random
from pathlib import Path

from aiokafka import AIOKafkaProducer

from muniment.contracts.errors import MunimentError
from muniment.contracts.ids import publication_id_of
from muniment.sdk import AsyncClient
from muniment.sdk.event import training_completed

from .cluster import Cluster
from .facts import Acknowledged, End

SOURCE = "//trainers.example/faults"
MODELS = 12


class Load:
    """Publications one after another at a bounded rate. Only what was acknowledged is in `acknowledged`."""

    def __init__(self, cluster: Cluster, seed: int, *, per_second: float = 10) -> None:
        self.acknowledged: list[Acknowledged] = []
        self._cluster = cluster
        self._seed = seed
        self._random = random.Random(seed)
        self._per_second = per_second
        self._count = 0

    async def run(self, total: int) -> None:
        """Publish `total` and return when each is acknowledged, however long services are away."""
        blobs = self._cluster.blobs()
        producer = AIOKafkaProducer(bootstrap_servers=self._cluster.parts.kafka.bootstrap, acks="all")
        await producer.start()
        try:
            async with self._cluster.client("ingest") as client, asyncio.TaskGroup() as group:
                for _ in range(total):
                    self._count += 1
                    data = self._random.randbytes(self._random.randint(1_000, 200_000))
                    way = self._random.choices(("kafka", "http", "mismatch", "twice", "malformed"), (10, 5, 1, 1, 1))[0]
                    model = f"model-{self._random.randrange(MODELS)}"
                    if way == "http":
                        group.create_task(self._upload(client, self._count, model, data))
                    elif way == "malformed":
                        group.create_task(self._malformed(producer, self._count))
                    else:
                        group.create_task(self._event(producer, blobs, self._count, model, data, way))
                    await asyncio.sleep(1 / self._per_second)
        finally:
            await producer.stop()
            await blobs.aclose()

    def _took(self, key: str, model: str, end: End) -> None:
        self.acknowledged.append(Acknowledged(key, model, end))

    async def _event(
        self, producer: AIOKafkaProducer, blobs: object, number: int, model: str, data: bytes, way: str
    ) -> None:
        place = await blobs.put(self._cluster.landing, f"{self._seed}/{number}.bin", data)  # type: ignore[attr-defined]
        digest = hashlib.sha256(data if way != "mismatch" else b"other").hexdigest()
        file = {
            "path": "model.bin",
            "size": len(data),
            "sha256": digest,
            "location": f"s3://{place.bucket}/{place.key}",
        }
        record = training_completed(
            model, [file], source=SOURCE, run_id=f"{self._seed}-{number}", topic_prefix=self._cluster.prefix
        )
        for _ in range(2 if way == "twice" else 1):
            await producer.send_and_wait(record.topic, key=record.key, value=record.value, headers=record.headers)
        end: End = "rejection" if way == "mismatch" else "version"
        self._took(publication_id_of(SOURCE, record.event_id), model, end)

    async def _malformed(self, producer: AIOKafkaProducer, number: int) -> None:
        value = b'{"model": "cut' + f"{self._seed}-{number}".encode()
        await producer.send_and_wait(f"{self._cluster.prefix}training-completed.v1", value=value)
        self._took(hashlib.sha256(value).hexdigest(), "", "dead letter")

    async def _upload(self, client: AsyncClient, number: int, model: str, data: bytes) -> None:
        """Ask with one key until an answer comes: after none, the outcome is unknown and the key tells."""
        file = self._cluster.folder / f"upload-{number}" / "model.bin"
        await asyncio.to_thread(_write, file, data)
        while True:
            try:
                done = await client.publish(
                    file.parent, model=model, run_id=f"{self._seed}-{number}", idempotency_key=f"k-{number}", wait=False
                )
            except (MunimentError, OSError):
                await asyncio.sleep(0.5)
            else:
                self._took(done.id, model, "version")
                return


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
