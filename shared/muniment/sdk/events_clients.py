"""What both clients offer to who listens: `events`, over HTTP or (from asyncio) over Kafka.

Nothing is loaded here before somebody listens: most users of a client only ask.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, Unpack

from muniment.sdk.transport import AsyncSender, opened

if TYPE_CHECKING:
    from muniment.sdk.broker import Broker
    from muniment.sdk.options import EventFilters
    from muniment.sdk.records import Event
    from muniment.sdk.settings import Server
    from muniment.sdk.wire import Wire

Since = str | int | datetime | None
Cursor = str | int | os.PathLike[str] | None
Over = Literal["kafka", "http"]
PATIENCE_S: Final = 300.0


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
        over: Over | None = None,
        broker: Broker | None = None,
        **filters: Unpack[EventFilters],
    ) -> Iterator[Event]:
        """Outward events that match, as they come, without end; with `follow=False` those that are there.

        They begin now, or `since` a time (RFC 3339 or `datetime`), after a cursor, or at the `beginning` of what is
        kept. `cursor` is an event's `cursor`, or a path to a file (`pathlib.Path`): the place is read from it, and
        written to it when the next event is asked for, thus after the one before has been handled; it comes before
        `since`. So each event comes at least once; the same `id` is the same event. `limit` ends it after so many.

        `over`: `kafka` reads the topics, of `broker` or the one that `MUNIMENT_KAFKA__BOOTSTRAP` names; `http` the
        event stream. Without it the kind of the cursor decides, else Kafka where a broker is known and answers.

        Restarts of the server are ridden out: only after `patience` seconds without an answer is `Transient` raised.
        `Gone` (`cursor_gone`): events after the cursor are no longer kept.
        """
        from muniment.sdk.hearing import blocking, blocking_kafka, chosen_at_once
        from muniment.sdk.listening import Asked, Listening

        asked = Asked(since, cursor, filters, limit)
        chosen = chosen_at_once(asked.start, over, broker)
        if chosen is not None:
            yield from blocking_kafka(chosen, asked, follow=follow, patience=patience)
            return
        listening = Listening(asked, follow=follow, patience=patience)
        yield from blocking(
            asked, listening, lambda wanted: opened(self._wire, self._server, wanted, self._timeout), self._sleep
        )


class AsyncEventsClient:
    """Listening from asyncio; the docstring of `EventsClient.events` holds."""

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
        from muniment.sdk.hearing import choose, delivered, from_kafka, from_server
        from muniment.sdk.listening import Asked, Listening

        asked = Asked(since, cursor, filters, limit)
        chosen = await choose(asked.start, over, broker)
        items = (
            from_server(Listening(asked, follow=follow, patience=patience), self._sender, self._sleep)
            if chosen is None
            else from_kafka(chosen, asked, follow=follow, patience=patience)
        )
        async for event in delivered(asked, items):
            yield event


async def events_over_kafka(
    broker: Broker,
    since: Since = None,
    *,
    cursor: Cursor = None,
    follow: bool = True,
    limit: int | None = None,
    patience: float = PATIENCE_S,
    **filters: Unpack[EventFilters],
) -> AsyncGenerator[Event, None]:
    """`AsyncClient.events` for who reaches Kafka and no server."""
    from muniment.sdk.hearing import delivered, from_kafka
    from muniment.sdk.listening import Asked

    asked = Asked(since, cursor, filters, limit)
    async for event in delivered(asked, from_kafka(broker, asked, follow=follow, patience=patience)):
        yield event
