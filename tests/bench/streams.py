"""The event stream: what idle listeners cost the services, and how long an event takes to be a line in their hands.

With no listener, with one and with 200: the services' processor use while nothing happens, and their memory. Then 5
events a second on `version-available`, timed from before the producer's send to the line of each listener's socket.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

from aiokafka import AIOKafkaProducer

from .notifications import send
from .report import Report
from .stack import Stack, running
from .trainers import producer
from .usage import cpu_seconds, memory_mib

LISTENERS = (1, 200)
PER_SECOND = 5.0
SETTLE_S = 5.0
_NUMBER = re.compile(rb'"number": ?([0-9]+)')


class Listener:
    """One reader of the stream, by a socket: its cost is no part of what is measured. `arrived`: by event's number."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.arrived: dict[int, float] = {}
        self.changed = asyncio.Event()

    async def listen(self) -> None:
        """Take lines until cancelled. Raises `RuntimeError` when the stream ends."""
        while line := await self._reader.readline():
            if line.startswith(b"data:") and (found := _NUMBER.search(line)) is not None:
                self.arrived.setdefault(int(found[1]), time.perf_counter())
                self.changed.set()
        raise RuntimeError("the stream ended while it was measured")

    async def all_of(self, numbers: set[int]) -> None:
        """Return when these have arrived."""
        while not numbers <= self.arrived.keys():
            self.changed.clear()
            await self.changed.wait()


async def measure(report: Report, *, seconds: float = 30.0) -> None:
    """All of it, on a stack of its own."""
    async with running() as stack, producer(stack) as made:
        numbers = itertools.count(1)
        await asyncio.sleep(SETTLE_S)
        await _idle(stack, report, 0, seconds)
        for count in LISTENERS:
            async with listening(stack, count) as listeners:
                await asyncio.sleep(SETTLE_S)
                await _idle(stack, report, count, seconds)
                report.say(f"streams: {PER_SECOND:g} events a second to {count} for {seconds:g} s")
                await _steady(made, listeners, numbers, 2.0)  # the first ones open connections
                waits = await _steady(made, listeners, numbers, seconds)
                report.quantiles(f"stream_{count}", waits, (50, 99), per_second=PER_SECOND, streams=count)


async def _idle(stack: Stack, report: Report, count: int, seconds: float) -> None:
    report.say(f"streams: {count} and no events for {seconds:g} s")
    cpu, began = cpu_seconds(stack.services), time.perf_counter()
    await asyncio.sleep(seconds)
    share = (cpu_seconds(stack.services) - cpu) / (time.perf_counter() - began) * 100
    report.add(f"streams_{count}_idle_cpu_percent", share, "%", streams=count, seconds=seconds)
    report.add(f"streams_{count}_rss_mib", memory_mib(stack.services), "MiB", streams=count)


async def _steady(
    made: AIOKafkaProducer, listeners: list[Listener], numbers: Iterator[int], seconds: float
) -> list[float]:
    """Send on a steady beat; how long each event took to each listener."""
    sent: dict[int, float] = {}
    begin = time.perf_counter()
    for place, number in enumerate(itertools.islice(numbers, round(seconds * PER_SECOND))):
        await asyncio.sleep(max(0.0, begin + place / PER_SECOND - time.perf_counter()))
        sent[number] = time.perf_counter()
        await send(made, f"model-{number}", number)
    async with asyncio.timeout(60):
        await asyncio.gather(*(one.all_of(set(sent)) for one in listeners))
    return [one.arrived[number] - moment for one in listeners for number, moment in sent.items()]


@asynccontextmanager
async def listening(stack: Stack, count: int) -> AsyncIterator[list[Listener]]:
    """So many listeners that have their place in the feed."""
    server = urlsplit(stack.url)
    request = (
        f"GET /api/v1/events/stream?type=version-available HTTP/1.1\r\nHost: {server.netloc}\r\n"
        f"Authorization: Bearer {stack.token}\r\n\r\n"
    ).encode()
    async with AsyncExitStack() as opened:
        listeners = []
        tasks = await opened.enter_async_context(asyncio.TaskGroup())
        for _ in range(count):
            reader, writer = await asyncio.open_connection(server.hostname, server.port)
            opened.callback(writer.close)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head.split(b"\r\n", 1)[0]:
                raise RuntimeError(f"no stream: {head[:200]!r}")
            while not (await reader.readline()).startswith(b"id:"):
                pass
            listeners.append(Listener(reader))
        running_tasks = [tasks.create_task(one.listen()) for one in listeners]
        try:
            yield listeners
        finally:
            for task in running_tasks:
                task.cancel()
