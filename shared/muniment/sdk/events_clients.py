"""What both clients offer to who listens: `events`, over HTTP or (from asyncio) over Kafka."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Unpack

from muniment.contracts.errors import Misconfigured
from muniment.sdk.broker import Broker, answers, find_broker
from muniment.sdk.exchange import Unanswered
from muniment.sdk.listening import MAX_PROBLEM, PATIENCE_S, Asked, Item, Listening
from muniment.sdk.records import Event
from muniment.sdk.transport import AsyncSender, opened

if TYPE_CHECKING:
    from muniment.sdk.options import EventFilters
    from muniment.sdk.settings import Server
    from muniment.sdk.wire import Wire

Since = str | int | datetime | None
Cursor = str | int | os.PathLike[str] | None
Over = Literal["kafka", "http"]


class EventsClient:
    """Listening with blocking calls."""

    _server: Server
    _wire: Wire
    _timeout: float
    _sleep: Callable[[float], None]

    def events(
        self,
        since: Since = None,
        *,
        cursor: Cursor = None,
        follow: bool = True,
        limit: int | None = None,
        patience: float = PATIENCE_S,
        **filters: Unpack[EventFilters],
    ) -> Iterator[Event]:
        """Outward events that match, as they come, without end; with `follow=False` those that are there.

        They begin now, or `since` a time (RFC 3339 or `datetime`), after a cursor, or at the `beginning` of what is
        kept. `cursor` is an event's `cursor`, or a path to a file (`pathlib.Path`): the place is read from it, and
        written to it when the next event is asked for, thus after the one before has been handled; it comes before
        `since`. So each event comes at least once; the same `id` is the same event. `limit` ends it after so many.

        Restarts of the server are ridden out: only after `patience` seconds without an answer is `Transient` raised.
        `Gone` (`cursor_gone`): events after the cursor are no longer kept.
        """
        asked = Asked(since, cursor, filters, limit)
        listening = Listening(asked, follow=follow, patience=patience)
        count = 0
        for item in self._heard(listening):
            if isinstance(item, Event):
                yield item
                count += 1
            asked.handled(item)
            if count == asked.limit:
                return

    def _heard(self, listening: Listening) -> Iterator[Item]:
        while True:
            try:
                with opened(self._wire, self._server, listening.request(), self._timeout) as response:
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
            self._sleep(pause)


class AsyncEventsClient:
    """Listening from asyncio; the docstring of `EventsClient.events` holds."""

    _server: Server
    _sender: AsyncSender
    _sleep: Callable[[float], Awaitable[None]]

    async def events(
        self,
        since: Since = None,
        *,
        cursor: Cursor = None,
        follow: bool = True,
        limit: int | None = None,
        patience: float = PATIENCE_S,
        over: Over | None = None,
        broker: Broker | None = None,
        **filters: Unpack[EventFilters],
    ) -> AsyncIterator[Event]:
        """`over`: `kafka` reads the topics, of `broker` or the one that `MUNIMENT_KAFKA__BOOTSTRAP` names; `http` the
        event stream. Without it the kind of the cursor decides, else Kafka where a broker is known and answers.
        """
        asked = Asked(since, cursor, filters, limit)
        chosen = await choose(asked, over, broker)
        items = (
            self._heard(Listening(asked, follow=follow, patience=patience))
            if chosen is None
            else _from_kafka(chosen, asked, follow=follow, patience=patience)
        )
        async for event in delivered(asked, items):
            yield event

    async def _heard(self, listening: Listening) -> AsyncIterator[Item]:
        while True:
            try:
                async with self._sender.opened(listening.request()) as response:
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
            await self._sleep(pause)


async def choose(asked: Asked, over: Over | None, broker: Broker | None) -> Broker | None:
    """The broker to listen to, None for HTTP. Raises `Misconfigured` (`broker_unknown`)."""
    wanted = over or asked.over
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


async def events_over_kafka(
    broker: Broker,
    since: Since = None,
    *,
    cursor: Cursor = None,
    follow: bool = True,
    limit: int | None = None,
    patience: float = PATIENCE_S,
    **filters: Unpack[EventFilters],
) -> AsyncIterator[Event]:
    """`AsyncClient.events` for who reaches Kafka and no server."""
    asked = Asked(since, cursor, filters, limit)
    async for event in delivered(asked, _from_kafka(broker, asked, follow=follow, patience=patience)):
        yield event


async def delivered(asked: Asked, items: AsyncIterator[Item]) -> AsyncIterator[Event]:
    """The events among the items; the place moves when the next one is asked for."""
    count = 0
    async for item in items:
        if isinstance(item, Event):
            yield item
            count += 1
        asked.handled(item)
        if count == asked.limit:
            return


def _from_kafka(broker: Broker, asked: Asked, *, follow: bool, patience: float) -> AsyncIterator[Item]:
    from muniment.sdk.kafka_feed import kafka_events

    return kafka_events(broker, asked.wanted, asked.start, follow=follow, patience=patience)
