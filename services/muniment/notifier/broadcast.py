"""Live events to many streams at once: one reader of the feed in this process, and a bounded stretch that all share.

Streams have no buffers of their own. Each has a place in the feed, and takes what lies after it from the stretch that
the one reader keeps; who is further back than that reads the feed itself, in bounded steps, until it has caught up.
So memory does not grow with slow streams, and idle ones cost one statement a second together.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog

from muniment.adapters.postgres import RACES, UNAVAILABLE
from muniment.contracts.errors import MunimentError, Transient
from muniment.contracts.event_filter import Facts, Filter, facts_of_json
from muniment.notifier.feed import CursorGone, Feed, FeedItem
from muniment.notifier.look_back import look_back, start_after

if TYPE_CHECKING:
    import asyncpg

log = structlog.get_logger(__name__)

_KEPT_EVENTS: Final = 2_000
_KEPT_BYTES: Final = 8 * 1024 * 1024
"""The shared stretch: events, and bytes of their texts."""
_READ_EVENTS: Final = 500
_STEP_EVENTS: Final = 200
"""Events that a stream takes in one step."""
_AGAIN_S: Final = 1.0
_AWAY: Final[tuple[type[Exception], ...]] = (*UNAVAILABLE, *RACES, MunimentError)


@dataclass(frozen=True, slots=True)
class Told:
    """An event as streams get it: its place, what filters see of it, and the CloudEvent as one line of JSON."""

    cursor: int
    facts: Facts
    text: bytes


@dataclass(frozen=True, slots=True)
class Step:
    """What a stream goes on with: events it wants, and the cursor after all that was looked at.

    `at_end`: there is no more for now.
    """

    events: Sequence[Told]
    cursor: int
    at_end: bool


def told(cursor: int, event: dict[str, Any]) -> Told:
    """An event of the feed, made ready once for all streams. JSON escapes line ends, so its text is one line."""
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
    return Told(cursor, facts_of_json(event), text)


class Stretch:
    """The newest events, bounded. `start` is the cursor after which nothing is missing; None: nothing is known."""

    def __init__(self, max_events: int = _KEPT_EVENTS, max_bytes: int = _KEPT_BYTES) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events: deque[Told] = deque()
        self._bytes = 0
        self.start: int | None = None
        self.end = 0

    def emptied(self) -> Stretch:
        """Another one with these bounds, with nothing in it."""
        return Stretch(self._max_events, self._max_bytes)

    def begin(self, cursor: int) -> None:
        """Know nothing but what comes after `cursor`."""
        self._events.clear()
        self._bytes = 0
        self.start = self.end = cursor

    def add(self, events: Sequence[Told], cursor: int) -> None:
        """Take the next events, and the cursor that was looked at through."""
        for event in events:
            self._events.append(event)
            self._bytes += len(event.text)
        self.end = max(self.end, cursor)
        while self._events and (len(self._events) > self._max_events or self._bytes > self._max_bytes):
            gone = self._events.popleft()
            self._bytes -= len(gone.text)
            self.start = gone.cursor

    def holds(self, cursor: int) -> bool:
        """Whether everything after `cursor` is here."""
        return self.start is not None and cursor >= self.start

    def after(self, cursor: int, wanted: Filter, limit: int) -> Step:
        """The wanted events after a cursor that it `holds`."""
        found: list[Told] = []
        for event in reversed(self._events):  # from the end: most streams are there
            if event.cursor <= cursor:
                break
            found.append(event)
        matching: list[Told] = []
        for event in reversed(found):
            if wanted.matches(event.facts):
                matching.append(event)
                if len(matching) == limit:
                    return Step(matching, event.cursor, at_end=event.cursor >= self.end)
        return Step(matching, max(cursor, self.end), at_end=True)


@dataclass(eq=False, slots=True)
class Place:
    """One stream: what it wants, how far it is, and what wakes it."""

    wanted: Filter
    cursor: int
    poke: asyncio.Event = field(default_factory=asyncio.Event)


class Broadcast:
    """The streams of this process. `feed` is woken by the service's own commits, and looks by itself every second."""

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        feed: Feed,
        limit: int,
        *,
        stretch: Stretch | None = None,
        count: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`limit`: streams at once. `count` is told how many there are."""
        self._pool = pool
        self._feed = feed
        self._limit = limit
        self._count = count
        self._stretch = stretch or Stretch()
        self._places: set[Place] = set()
        self._reader: asyncio.Task[None] | None = None
        self._catching_up = asyncio.Semaphore(2)
        """Those who are far back take at most two connections of the pool; deliveries keep the rest."""

    @asynccontextmanager
    async def joined(self, wanted: Filter, cursor: int) -> AsyncIterator[Place]:
        """A place in the feed while the block runs. Raises `Transient` (`streams_busy`)."""
        self.check_room()
        place = Place(wanted, cursor)
        self._places.add(place)
        self._count(len(self._places))
        if self._reader is None:
            self._reader = asyncio.create_task(self._read(), name="event streams: reader")
        try:
            yield place
        finally:
            self._places.discard(place)
            self._count(len(self._places))
            if not self._places and self._reader is not None:
                self._reader.cancel()
                self._reader = None
                self._stretch = self._stretch.emptied()

    def check_room(self) -> None:
        """Raise `Transient` (`streams_busy`) where there are as many streams as may be."""
        if len(self._places) < self._limit:
            return
        error = Transient(
            "streams_busy",
            "this process has as many event streams as it may",
            expected=f"<= {self._limit}",
            hint="ask again later, or read GET /api/v1/events",
        )
        error.retry_after = 5
        raise error

    def poke_all(self) -> None:
        """Wake every stream."""
        for place in self._places:
            place.poke.set()

    async def step(self, place: Place) -> Step:
        """The next step of a stream; its place moves when the caller says so. Raises `CursorGone`."""
        if self._stretch.holds(place.cursor):
            return self._stretch.after(place.cursor, place.wanted, _STEP_EVENTS)
        async with self._catching_up:
            past = await look_back(self._pool, place.wanted, place.cursor, _STEP_EVENTS)
            if (await start_after(self._pool, place.cursor)).pruned:
                raise CursorGone("cursor_gone", "events after this cursor are no longer kept", actual=place.cursor)
        events = [told(one.cursor, dict(one.event)) for one in past.items]
        # At the end of the feed, but the reader may be behind it or not have begun: then its next pages wake us.
        return Step(events, past.cursor, at_end=past.complete)

    async def _read(self) -> None:
        stretch = self._stretch
        cursor: int | None = None
        while True:
            try:
                if cursor is None:
                    cursor = (await self._feed.read(None, limit=1)).cursor
                    stretch.begin(cursor)
                    self.poke_all()  # what was committed between their look and this one
                page = await self._feed.read(cursor, limit=_READ_EVENTS, wait_s=60.0)
            except _AWAY as error:
                log.warning("event streams: the feed cannot be read", error=repr(error)[:300])
                if isinstance(error, CursorGone):
                    cursor = None
                await asyncio.sleep(_AGAIN_S)
                continue
            stretch.add([_of(item) for item in page.items], page.cursor)
            cursor = page.cursor
            if page.items:
                self.poke_all()


def _of(item: FeedItem) -> Told:
    return told(item.cursor, item.event)
