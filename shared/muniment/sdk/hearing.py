"""Drives a `Listening` with blocking I/O or on asyncio, and hands its events out one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from muniment.contracts.errors import Misconfigured
from muniment.sdk.exchange import Request, Unanswered
from muniment.sdk.listening import MAX_PROBLEM, Asked, Item, Listening, over_of
from muniment.sdk.records import Event
from muniment.sdk.transport import AsyncSender
from muniment.sdk.wire import Response

if TYPE_CHECKING:
    from muniment.sdk.broker import Broker


def blocking(
    asked: Asked,
    listening: Listening,
    opened: Callable[[Request], AbstractContextManager[Response]],
    sleep: Callable[[float], None],
) -> Iterator[Event]:
    """The events; the place moves when the next one is asked for."""
    count = 0
    for item in _items(listening, opened, sleep):
        if isinstance(item, Event):
            yield item
            count += 1
        asked.handled(item)
        if count == asked.limit:
            return


def _items(
    listening: Listening,
    opened: Callable[[Request], AbstractContextManager[Response]],
    sleep: Callable[[float], None],
) -> Iterator[Item]:
    while True:
        try:
            with opened(listening.request()) as response:
                if Listening.is_stream(response.status, response.headers):
                    for piece in response.pieces():
                        yield from listening.received(piece)
                    pause = listening.ended()
                else:
                    pause = listening.refused(response.status, response.headers, response.read(MAX_PROBLEM))
        except Unanswered as error:
            pause = listening.lost(error)
        if listening.finished:
            return
        sleep(pause)


async def from_server(
    listening: Listening, sender: AsyncSender, sleep: Callable[[float], Awaitable[None]]
) -> AsyncGenerator[Item, None]:
    """What the event stream brings."""
    while True:
        try:
            async with sender.opened(listening.request()) as response:
                if Listening.is_stream(response.status, response.headers):
                    async for piece in response.pieces:
                        for item in listening.received(piece):
                            yield item
                    pause = listening.ended()
                else:
                    pause = listening.refused(response.status, response.headers, await response.read(MAX_PROBLEM))
        except Unanswered as error:
            pause = listening.lost(error)
        if listening.finished:
            return
        await sleep(pause)


def from_kafka(broker: Broker, asked: Asked, *, follow: bool, patience: float) -> AsyncGenerator[Item, None]:
    """What the topics bring."""
    from muniment.sdk.kafka_feed import kafka_events

    return kafka_events(broker, asked.wanted, asked.start, follow=follow, patience=patience)


def blocking_kafka(broker: Broker, asked: Asked, *, follow: bool, patience: float) -> Iterator[Event]:
    """What the topics bring, for a thread without a loop of its own: this one runs while an event is waited for."""
    with asyncio.Runner() as runner:
        events = delivered(asked, from_kafka(broker, asked, follow=follow, patience=patience))
        try:
            while (event := runner.run(_next(events))) is not None:
                yield event
        finally:
            runner.run(events.aclose())


async def _next(events: AsyncGenerator[Event, None]) -> Event | None:
    return await anext(events, None)


async def delivered(asked: Asked, items: AsyncGenerator[Item, None]) -> AsyncGenerator[Event, None]:
    """The events among the items; the place moves when the next one is asked for."""
    count = 0
    async with aclosing(items):
        async for item in items:
            if isinstance(item, Event):
                yield item
                count += 1
            asked.handled(item)
            if count == asked.limit:
                return


def chosen_at_once(
    start: str | int | datetime | None, over: Literal["kafka", "http"] | None, broker: Broker | None
) -> Broker | None:
    """`choose` for a thread without a loop. Raises what it raises."""
    from muniment.sdk.broker import find_broker

    if over == "http" or over_of(start) == "http":
        return None
    if over is None and broker is None and over_of(start) is None and find_broker() is None:
        return None
    return asyncio.run(choose(start, over, broker))


async def choose(
    start: str | int | datetime | None, over: Literal["kafka", "http"] | None, broker: Broker | None
) -> Broker | None:
    """The broker to listen to, None for HTTP. Raises `Misconfigured` (`broker_unknown`)."""
    from muniment.sdk.broker import answers, find_broker

    wanted = over or over_of(start)
    if wanted == "http":
        return None
    known = broker or find_broker()
    if wanted is None:
        return known if known is not None and await answers(known) else None
    if known is None:
        raise Misconfigured(
            "broker_unknown",
            "no Kafka broker is known",
            expected="MUNIMENT_KAFKA__BOOTSTRAP",
            hint="set it to HOST:PORT, or listen over HTTP",
        )
    return known
