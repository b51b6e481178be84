"""10,000 endpoints of which one hangs: how long the others wait for their webhooks, with it and without.

Each endpoint is a subscription of its own that wants one model; they listen on 100 ports of loopback. 200 events a
second go round over all of them, and every tenth is for one more endpoint: at first it answers like the others, then it
takes what it is sent and says nothing, and at last it answers again: what differs between the first and the last is
no effect of it. What is timed is what the others get.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from muniment.sdk import AsyncClient

from .notifications import Received, receiver, send
from .report import Report, quantile
from .stack import running
from .trainers import producer

ENDPOINTS = 10_000
PORTS = 100
PER_SECOND = 200.0
EVERY = 10
"""Each tenth event is for the endpoint that hangs."""
_AT_ONCE = 16
_ROUNDS = 30


async def measure(report: Report, *, seconds: float = 30.0, count: int = ENDPOINTS) -> None:
    """On a stack of its own."""
    async with (
        running() as stack,
        sinks() as received,
        producer(stack) as made,
        silence() as silent,
        AsyncClient(stack.url, stack.token, timeout=60) as client,
    ):
        report.say(f"isolation: making {count} subscriptions")
        places = iter(range(1, count))
        await asyncio.gather(*(_subscribe(client, received, places) for _ in range(_AT_ONCE)))
        one = await client.create_subscription({"name": "one", "url": received.urls[0], "model": "one"})
        numbers = itertools.count(1)
        await _calm(made, received, numbers, count)
        for stem, url in (
            ("webhook_10k", received.urls[0]),
            ("webhook_10k_one_hangs", silent.url),
            ("webhook_10k_again", received.urls[0]),
        ):
            await client.change_subscription(one["id"], {"url": url})
            report.say(f"isolation: {stem}, {PER_SECOND:g} events a second for {seconds:g} s")
            waits = await _steady(made, received, numbers, seconds, count)
            report.quantiles(stem, waits, (50, 99), per_second=PER_SECOND, endpoints=count)
        if not silent.taken:
            raise RuntimeError("the endpoint that hangs was never called: nothing was measured")
        report.say(f"isolation: the endpoint that hangs was called {silent.taken} times")


async def _subscribe(client: AsyncClient, received: Sinks, places: Iterator[int]) -> None:
    for place in places:
        url = f"{received.urls[place % PORTS]}/{place}"
        await client.create_subscription({"name": f"n-{place}", "url": url, "model": f"model-{place}"})


async def _calm(made: AIOKafkaProducer, received: Received, numbers: Iterator[int], count: int) -> None:
    """Go on until waits no longer fall: what making so many subscriptions left to do is no part of what is measured."""
    last = float("inf")
    for _ in range(_ROUNDS):
        now = quantile(await _steady(made, received, numbers, 2.0, count), 50)
        if now > 0.8 * last:
            return
        last = now


async def _steady(
    made: AIOKafkaProducer, received: Received, numbers: Iterator[int], seconds: float, count: int
) -> list[float]:
    """Send on a steady beat; how long each event of the others took to arrive."""
    sent: dict[int, float] = {}
    acknowledged = []
    begin = time.perf_counter()
    for place, number in enumerate(itertools.islice(numbers, round(seconds * PER_SECOND))):
        await asyncio.sleep(max(0.0, begin + place / PER_SECOND - time.perf_counter()))
        others = place % EVERY != 0
        if others:
            sent[number] = time.perf_counter()
        acknowledged.append(await send(made, f"model-{1 + number % (count - 1)}" if others else "one", number))
    await asyncio.gather(*acknowledged)
    await received.all_of(sent)
    return [received.first[number] - moment for number, moment in sent.items()]


class Sinks(Received):
    """Receivers on many ports that note into one."""

    urls: tuple[str, ...] = ()


@asynccontextmanager
async def sinks() -> AsyncIterator[Sinks]:
    """On `PORTS` free ports of loopback."""
    received = Sinks()
    async with contextlib.AsyncExitStack() as stack:
        received.urls = tuple([await stack.enter_async_context(receiver(received)) for _ in range(PORTS)])
        yield received


class Silent:
    """Takes connections and requests, and says nothing."""

    def __init__(self) -> None:
        self.url = ""
        self.taken = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Count requests until the other side has had enough."""
        with contextlib.suppress(ConnectionError):
            while await reader.read(65_536):
                self.taken += 1
        writer.close()


@asynccontextmanager
async def silence() -> AsyncIterator[Silent]:
    """On a free port of loopback."""
    silent = Silent()
    server = await asyncio.start_server(silent.serve, "127.0.0.1", 0)
    async with server:
        silent.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        yield silent
