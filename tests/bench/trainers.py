"""The outsiders of a benchmark: training pipelines that land files and send events, and a deployer that watches topics."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from muniment.contracts.ids import publication_id_of
from muniment.contracts.topics import Topic
from muniment.sdk.event import KafkaRecord, training_completed

from .stack import LANDING, Stack

SOURCE = "//trainers.example/bench"


@dataclass(frozen=True)
class Run:
    """A finished training run whose file lies in the landing bucket: the event that tells of it."""

    publication_id: str
    record: KafkaRecord


async def land(stack: Stack, models: Iterable[str], size: int, *, stem: str, at_once: int = 16) -> list[Run]:
    """Upload one file of `size` random bytes for each model named; the runs in the same order."""
    slots = asyncio.Semaphore(at_once)
    blobs = stack.blobs(at_once)

    async def one(number: int, model: str) -> Run:
        async with slots:
            data = os.urandom(size)  # within the slot: for all at once it holds the loop beyond the connect timeout
            place = await blobs.put(LANDING, f"{stem}/{number}/model.bin", data)
        file = {
            "path": "model.bin",
            "size": size,
            "sha256": hashlib.sha256(data).hexdigest(),
            "location": f"s3://{place.bucket}/{place.key}",
        }
        record = training_completed(
            model, [file], source=SOURCE, run_id=f"{stem}-{number}", params={"lr": 0.1, "n": number}, metrics={"a": 0.9}
        )
        return Run(publication_id_of(SOURCE, record.event_id), record)

    try:
        return list(await asyncio.gather(*(one(number, model) for number, model in enumerate(models))))
    finally:
        await blobs.aclose()


@asynccontextmanager
async def producer(stack: Stack) -> AsyncIterator[AIOKafkaProducer]:
    """A pipeline's own producer."""
    made = AIOKafkaProducer(bootstrap_servers=stack.endpoints.kafka.bootstrap, acks="all")
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def send(made: AIOKafkaProducer, run: Run) -> None:
    """Say that the run is done; returns when the broker has it."""
    record = run.record
    await made.send_and_wait(record.topic, key=record.key, value=record.value, headers=record.headers)


@dataclass
class Watcher:
    """When each flow was first seen on each topic: `arrived[topic name][publication id]`, by `time.perf_counter`."""

    arrived: dict[str, dict[str, float]] = field(default_factory=dict)
    waiting: dict[tuple[str, str], asyncio.Future[float]] = field(default_factory=dict)
    bytes_seen: int = 0

    def seen(self, topic: Topic) -> dict[str, float]:
        """The arrivals on a topic."""
        return self.arrived[topic.wire_name("muniment.")]

    def expect(self, topic: Topic, flow: str) -> asyncio.Future[float]:
        """Done when the flow arrives on the topic. Ask before it can have arrived."""
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.waiting[topic.wire_name("muniment."), flow] = future
        return future

    async def read(self, consumer: AIOKafkaConsumer) -> None:
        """Take note of everything, until cancelled."""
        while True:
            batches: dict[Any, Any] = await consumer.getmany(timeout_ms=1_000)
            now = time.perf_counter()
            for records in batches.values():
                for record in records:
                    flow = _flow(record)
                    self.arrived[record.topic].setdefault(flow, now)
                    if (future := self.waiting.pop((record.topic, flow), None)) is not None and not future.done():
                        future.set_result(now)


def _flow(record: Any) -> str:
    headers = dict(record.headers)
    if (correlation := headers.get("ce_correlationid")) is not None:
        return str(correlation.decode())
    return publication_id_of(headers["ce_source"].decode(), headers["ce_id"].decode())


@asynccontextmanager
async def watcher(stack: Stack, topics: Iterable[Topic]) -> AsyncIterator[Watcher]:
    """Watch topics from now on."""
    names = [topic.wire_name("muniment.") for topic in topics]
    consumer = AIOKafkaConsumer(
        *names, bootstrap_servers=stack.endpoints.kafka.bootstrap, auto_offset_reset="latest", fetch_max_wait_ms=500
    )
    await consumer.start()
    try:
        await asyncio.gather(*(consumer.position(partition) for partition in consumer.assignment()))
        watching = Watcher({name: {} for name in names})
        task = asyncio.create_task(watching.read(consumer))
        try:
            yield watching
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    finally:
        await consumer.stop()
