"""`GET /api/v1/events/stream`: outward events as server-sent events (WHATWG HTML, 9.2), without loss over restarts.

An event's `id` is its cursor: who comes back with it as `Last-Event-ID` gets what followed. Between events an `id`
alone moves the cursor over what the filter left out, so that it does not grow too old. A stream ends by itself after
`MAX_AGE_S`, when the server stops, and when its reader does not read; the reader comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from muniment.adapters.postgres import RACES, UNAVAILABLE
from muniment.contracts.event_filter import MAX_WISHES, Filter, filter_of
from muniment.contracts.identity import Principal
from muniment.notifier.broadcast import Broadcast, Place, Step
from muniment.notifier.feed import CursorGone, Feed
from muniment.notifier.stream_start import cursor_at, start_of
from muniment.runtime.http.auth import role

log = structlog.get_logger(__name__)

HEARTBEAT_S: Final = 15.0
MAX_AGE_S: Final = 900.0
"""A token that was revoked, and a role that was taken away, end here at the latest."""
SEND_S: Final = 30.0
"""A reader who takes nothing for so long is disconnected."""
_ENDS: Final[tuple[type[Exception], ...]] = (CursorGone, *UNAVAILABLE, *RACES)
_RETRY: Final = b"retry: 2000\n\n"
_END: Final = b"event: end\ndata: {}\n\n"

Reader = Annotated[Principal, Depends(role("reader"))]


def with_stream(routes: APIRouter, streams: Broadcast, feed: Feed) -> APIRouter:
    """The notifier's routes and the stream's."""

    @routes.get(
        "/events/stream",
        status_code=200,  # named, since the description would else look for it in the response class
        response_model=None,
        response_class=EventStream,
        responses={
            200: {
                "description": "Server-sent events. `id` is the cursor, `data` the CloudEvent in its JSON format.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            }
        },
    )
    async def stream_events(
        request: Request,
        _reader: Reader,
        event_type: Annotated[
            tuple[str, ...], Query(alias="type", max_length=50, description="event types; all without it")
        ] = (),
        model: Annotated[str | None, Query(max_length=128, description="a name or glob")] = None,
        branch: Annotated[str | None, Query(max_length=128, description="a name or glob")] = None,
        stability: Annotated[str | None, Query(max_length=32)] = None,
        track: Annotated[str | None, Query(max_length=256)] = None,
        tag: Annotated[tuple[str, ...], Query(max_length=MAX_WISHES, description="KEY or KEY=VALUE")] = (),
        metric: Annotated[
            tuple[str, ...], Query(max_length=MAX_WISHES, description="a condition such as accuracy>=0.95")
        ] = (),
        since: Annotated[
            str | None, Query(max_length=64, description="a time, a cursor, or `beginning`; from now on without it")
        ] = None,
        follow: Annotated[bool, Query(description="false: end after the events that are there")] = True,
        last_event_id: Annotated[str | None, Header(max_length=64, description="comes before `since`")] = None,
    ) -> EventStream:
        """Outward events as they come, in the feed's order, from after `Last-Event-ID` or `since`."""
        fields = {
            "types": event_type,
            "model": model,
            "branch": branch,
            "stability": stability,
            "track": track,
            "tags": tag,
            "metrics": metric,
        }
        wanted = filter_of(fields)
        streams.check_room()
        cursor = await cursor_at(feed.pool, feed, start_of(last_event_id, since))
        stopping: asyncio.Event = request.app.state.stopping
        abort: Callable[[], None] | None = getattr(request.state, "abort", None)
        return EventStream(streams, wanted, cursor, stopping, follow=follow, abort=abort)

    return routes


class EventStream(Response):
    """The answer: runs until the reader leaves, the server stops, or its time is up."""

    media_type = "text/event-stream"

    def __init__(
        self,
        streams: Broadcast,
        wanted: Filter,
        cursor: int,
        stopping: asyncio.Event,
        *,
        follow: bool = True,
        abort: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(headers={"x-accel-buffering": "no"})  # proxies that would gather it are asked not to
        del self.headers["content-length"]
        self._streams = streams
        self._wanted = wanted
        self._cursor = cursor
        self._stopping = stopping
        self._follow = follow
        self._abort = abort

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        async with self._streams.joined(self._wanted, self._cursor) as place:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            ended = asyncio.create_task(self._ended(receive, place))
            try:
                await self._run(place, send, ended)
            except TimeoutError:
                # It would wait for its reader even while it is closed.
                if self._abort is not None:
                    self._abort()
                    await ended
                    return
            finally:
                ended.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SEND_S):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _run(self, place: Place, send: Send, ended: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + MAX_AGE_S
        # The place is told at once: who is cut off before the first event goes on from there.
        await _send(send, _RETRY + b"id: %d\n\n" % place.cursor)
        said = place.cursor
        while not ended.done() and loop.time() < until:
            place.poke.clear()
            try:
                step = await self._streams.step(place)
            except _ENDS as error:
                log.info("event stream ended", error=repr(error)[:300])
                return  # the reader comes back, and is told
            place.cursor = step.cursor
            if step.events:
                await _send_events(send, step)
                said = step.events[-1].cursor
            if not step.at_end:
                continue
            if not self._follow:
                await _send(send, b"id: %d\n%s" % (place.cursor, _END))
                return
            try:
                async with asyncio.timeout(min(HEARTBEAT_S, until - loop.time())):
                    await place.poke.wait()
            except TimeoutError:
                moved = b"id: %d\n\n" % place.cursor if place.cursor > said else b""
                said = place.cursor
                await _send(send, b":\n" + moved)

    async def _ended(self, receive: Receive, place: Place) -> None:
        """Ends when the reader has gone or the server stops, and wakes the stream."""

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        watches = [asyncio.create_task(gone()), asyncio.create_task(self._stopping.wait())]
        try:
            await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for watch in watches:
                watch.cancel()
        place.poke.set()


async def _send_events(send: Send, step: Step) -> None:
    for event in step.events:
        await _send(send, b"id: %d\ndata: %s\n\n" % (event.cursor, event.text))


async def _send(send: Send, body: bytes) -> None:
    message: dict[str, Any] = {"type": "http.response.body", "body": body, "more_body": True}
    async with asyncio.timeout(SEND_S):
        await send(message)
