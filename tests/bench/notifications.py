"""From an event on `version-available` to its webhook received: 200 events a second, 50 subscriptions; and a burst.

Each of 50 subscriptions wants one model, so 200 webhooks a second go out; what is timed is from before the producer's
send to the whole request in the hands of a receiver on loopback. Then the same with 1,000,000 deliveries and attempts
in the ledger, of the same subscriptions, written straight into its tables. Then a burst: events that all 50
subscriptions want, and how many webhooks a second arrive until the last one has.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import asyncpg
from aiokafka import AIOKafkaProducer

from muniment.contracts.cloudevent import CloudEvent, encode
from muniment.contracts.events import VersionAvailable
from muniment.contracts.topics import VERSION_AVAILABLE
from muniment.sdk import AsyncClient

from .report import Report, quantile
from .stack import Stack, running
from .trainers import producer
from .usage import cpu_seconds

SUBSCRIPTIONS = 50
PER_SECOND = 200.0
WARM_UP = 400
LEDGER = 1_000_000
BURST = 20_000
"""Webhooks of the burst."""
_NUMBER = re.compile(rb'"number": ?([0-9]+)')
_LENGTH = re.compile(rb"content-length: ?([0-9]+)", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


async def measure(report: Report, *, seconds: float = 30.0) -> None:
    """All of it, on a stack of its own."""
    async with running() as stack, sink() as received, producer(stack) as made:
        await measure_on(stack, report, received, made, seconds=seconds)


async def measure_on(
    stack: Stack, report: Report, received: Received, made: AIOKafkaProducer, *, seconds: float
) -> None:
    """The same on a running stack."""
    async with AsyncClient(stack.url, stack.token) as client:
        for number in range(SUBSCRIPTIONS):
            wanted = {"name": f"one-{number}", "url": received.url, "model": f"model-{number}"}
            await client.create_subscription(wanted)
    numbers = itertools.count(1)
    await _steady(made, received, numbers, WARM_UP / PER_SECOND)
    report.say(f"notifications: {PER_SECOND:g} events a second for {seconds:g} s")
    waits = await _steady(made, received, numbers, seconds)
    report.quantiles("webhook", waits, (50, 99), per_second=PER_SECOND, subscriptions=SUBSCRIPTIONS)
    report.say(f"notifications: writing {LEDGER} deliveries and attempts")
    await fill(stack.endpoints.postgres_dsn, LEDGER)
    await _steady(made, received, numbers, WARM_UP / PER_SECOND)
    waits = await _steady(made, received, numbers, seconds)
    report.quantiles("webhook_1m_rows", waits, (50, 99), per_second=PER_SECOND, rows=LEDGER)
    await _burst(stack, report, made, received, numbers)


async def _steady(made: AIOKafkaProducer, received: Received, numbers: Iterable[int], seconds: float) -> list[float]:
    """Send events on a steady beat; how long each took to arrive."""
    sent: dict[int, float] = {}
    acknowledged = []
    begin = time.perf_counter()
    for place, number in enumerate(itertools.islice(numbers, round(seconds * PER_SECOND))):
        await asyncio.sleep(max(0.0, begin + place / PER_SECOND - time.perf_counter()))
        sent[number] = time.perf_counter()
        acknowledged.append(await send(made, f"model-{number % SUBSCRIPTIONS}", number))
    await asyncio.gather(*acknowledged)
    await received.all_of(sent)
    return [received.first[number] - moment for number, moment in sent.items()]


async def _burst(
    stack: Stack, report: Report, made: AIOKafkaProducer, received: Received, numbers: Iterable[int]
) -> None:
    async with AsyncClient(stack.url, stack.token) as client:
        for number in range(SUBSCRIPTIONS):
            await client.create_subscription({"name": f"all-{number}", "url": received.url, "model": "burst-*"})
    report.say(f"notifications: a burst of {BURST} webhooks")
    before, cpu = received.count, cpu_seconds(stack.services)
    events = list(itertools.islice(numbers, BURST // SUBSCRIPTIONS))
    await asyncio.gather(*[await send(made, f"burst-{number % 20}", number) for number in events])
    await received.so_many(before + BURST)
    times = received.times[before : before + BURST]
    # The middle: neither the first webhooks, while events are still written, nor the last, when lanes run dry.
    low, high = len(times) // 10, len(times) * 9 // 10
    rate = (high - low) / (times[high] - times[low])
    report.add("webhook_deliveries_per_s", rate, "1/s", subscriptions=SUBSCRIPTIONS, deliveries=BURST)
    report.add("webhook_cpu_ms_services", (cpu_seconds(stack.services) - cpu) / BURST * 1000, "ms")
    report.say(
        f"notifications: the slowest gap was {quantile([b - a for a, b in itertools.pairwise(times)], 100):.3f} s"
    )


async def send(made: AIOKafkaProducer, model: str, number: int) -> asyncio.Future[object]:
    """Send a version-available event with this number; the result is done when the broker has it."""
    place = {"bucket": "muniment-models", "key": "k", "version_id": "v"}
    flow = str(uuid.uuid4())
    payload = VersionAvailable.model_validate(
        {
            "publication_id": flow,
            "model": model,
            "number": number,
            "id": f"sha256:{number:064x}",
            "branch": "main",
            "stability": "stable",
            "track": "production",
            "operator": "muniment|bench",
            "committed_at": "2026-01-01T00:00:00Z",
            "metrics": {"accuracy": 0.97},
            "tags": {"env": "bench"},
            "manifest": place,
            "files": [{"path": "a", "sha256": "a" * 64, "size": 1, "format": "safetensors", "location": place}],
        }
    )
    event = CloudEvent(
        id=f"bench-{number}",
        source="/muniment/registry",
        type=VERSION_AVAILABLE.type,
        data=payload.model_dump_json(exclude_none=True).encode(),
        time="2026-01-01T00:00:00.000000Z",
        extensions={"partitionkey": model, "correlationid": flow},
    )
    headers, value = encode(event)
    topic = VERSION_AVAILABLE.wire_name("muniment.")
    sent: asyncio.Future[object] = await made.send(topic, key=model.encode(), value=value, headers=headers)
    return sent


async def fill(dsn: str, rows: int) -> None:
    """Write events, each delivered to every subscription with one attempt, until there are so many deliveries."""
    connection = await asyncpg.connect(dsn)
    try:
        events = rows // SUBSCRIPTIONS
        body = '\'{"type":"muniment.version-available.v1","data":{"model":"seeded"}}\' || repeat(\' \', 700)'
        await connection.execute(
            f"""
            WITH made AS (
                INSERT INTO notifier.event_feed (key, type, model, recorded_at, body)
                SELECT gen_random_uuid(), 'version-available', 'seeded', now(), {body}
                FROM generate_series(1, {events}) RETURNING seq
            ), delivered AS (
                INSERT INTO notifier.delivery
                    (id, subscription_id, event_seq, state, lease_epoch, finished_at)
                SELECT gen_random_uuid(), s.id, made.seq, 'delivered', 1, now()
                FROM made CROSS JOIN notifier.subscription s RETURNING id
            )
            INSERT INTO notifier.attempt (delivery_id, number, started_at, status, latency_ms, request_sha256)
            SELECT id, 1, now(), 204, 3, repeat('a', 64) FROM delivered
            """,
            timeout=600,
        )
        await connection.execute("ANALYZE notifier.event_feed, notifier.delivery, notifier.attempt")
        await connection.execute("CHECKPOINT")  # what filling left behind is no part of what is measured
    finally:
        await connection.close()


@dataclass
class Received:
    """What has arrived: the first arrival of each event's number, and the time of every request in order."""

    url: str = ""
    first: dict[int, float] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def count(self) -> int:
        """Requests until now."""
        return len(self.times)

    def take(self, body: bytes) -> None:
        """One request's body."""
        now = time.perf_counter()
        self.times.append(now)
        if (found := _NUMBER.search(body)) is not None:
            self.first.setdefault(int(found[1]), now)
        self._changed.set()

    async def all_of(self, numbers: Iterable[int], seconds: float = 120) -> None:
        """Return when these have arrived."""
        wanted = set(numbers)
        async with asyncio.timeout(seconds):
            while not wanted <= self.first.keys():
                await self._next()

    async def so_many(self, count: int, seconds: float = 300) -> None:
        """Return when so many requests have arrived."""
        async with asyncio.timeout(seconds):
            while self.count < count:
                await self._next()

    async def _next(self) -> None:
        self._changed.clear()
        await self._changed.wait()
        await asyncio.sleep(0.05)


class _Connection(asyncio.Protocol):
    """The least that is a receiver of webhooks: its cost is no part of what is measured."""

    def __init__(self, received: Received) -> None:
        self._received = received
        self._held = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its type

    def data_received(self, data: bytes) -> None:
        """Take whole requests and answer each."""
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._held, 0, end)
            total = end + 4 + (int(length[1]) if length else 0)
            if len(self._held) < total:
                return
            body, self._held = self._held[end + 4 : total], self._held[total:]
            self._received.take(body)
            assert self._transport is not None
            self._transport.write(_ANSWER)


@asynccontextmanager
async def sink() -> AsyncIterator[Received]:
    """A receiver on a loopback port of its own."""
    received = Received()
    async with receiver(received) as received.url:
        yield received


@asynccontextmanager
async def receiver(received: Received) -> AsyncIterator[str]:
    """The URL of a receiver on a free loopback port that notes into `received`."""
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(received), "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
