"""The feed: every outward event in one order, read from a cursor, waiting for more.

A cursor is the `seq` of the last event looked at. Identity values are handed out before their transaction commits, so
in general a reader that goes on from the highest it saw loses rows. Here it does not: batches take the feed's lock
before they take values, so values become visible in their own order (see the migration).
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from muniment.contracts.errors import NotFound, Rejected
from muniment.notifier.domain import type_name
from muniment.notifier.store import SQL

if TYPE_CHECKING:
    import asyncpg

MAX_WAIT_S: Final = 60.0
_SCAN_ROWS: Final = 10_000
"""Rows looked at by one statement: a filter that hardly ever matches must not read the table in one go."""
_SCANS: Final = 20
"""Statements of one answer; then the cursor goes back to the reader, who asks again from there."""
_PAGE_BYTES: Final = 4 * 1024 * 1024
_POLL_S: Final = 1.0
"""How often a waiting reader looks by itself: events that another process took wake nobody here."""
_CALM_S: Final = 0.05
"""A wake-up that brought nothing for a reader makes it rest so long: filters must not multiply the load."""
_MAX_WAITING: Final = 1_000


class CursorGone(NotFound):
    """Events behind this cursor have been pruned; reading on from it would skip them silently."""

    http_status = 410


@dataclass(frozen=True, slots=True)
class FeedItem:
    """One event and its place. `event` is the CloudEvent in structured JSON."""

    cursor: int
    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Events after a cursor, oldest first, and the cursor to go on from (it moves over what the filter left out)."""

    items: tuple[FeedItem, ...]
    cursor: int


@dataclass(slots=True)
class Feed:
    """Reads the feed. Call `wake` after each commit that added events."""

    pool: asyncpg.Pool[Any]
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _readers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """Readers take at most two connections of the pool; deliveries keep the rest."""
    _waiting: int = 0

    def wake(self) -> None:
        """Events have been added."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def read(
        self,
        after: int | None,
        *,
        limit: int,
        wait_s: float = 0.0,
        event_type: str | None = None,
        model: str | None = None,
    ) -> FeedPage:
        """Up to `limit` events after the cursor; None starts at the end, 0 at the oldest kept.

        With nothing there it waits up to `wait_s` for the first. `event_type` is a topic's name or CloudEvents type,
        `model` a glob without regard to case. Raises `Rejected` (`filter_invalid`, `cursor_unknown`), `CursorGone`.
        """
        look = _Look(
            limit=limit,
            type=None if event_type is None else type_name(event_type),
            pattern=None if model is None else like_pattern(model.lower()),
            from_oldest=after == 0,
        )
        if after is None:
            async with self._readers:
                after = int(await self.pool.fetchval(SQL["feed_head"]))
        loop = asyncio.get_running_loop()
        ends = loop.time() + (min(wait_s, MAX_WAIT_S) if self._waiting < _MAX_WAITING else 0.0)
        self._waiting += 1
        try:
            woken = False
            while True:
                changed = self._changed  # before the look: what commits after it sets this very event
                page, at_end = await self._scan(after, look)
                if page.items or not at_end or loop.time() >= ends:
                    return page
                after = page.cursor
                if woken:
                    await asyncio.sleep(_CALM_S)
                try:
                    async with asyncio.timeout_at(min(ends, loop.time() + _POLL_S)):
                        woken = await changed.wait()
                except TimeoutError:
                    woken = False
        finally:
            self._waiting -= 1

    async def _scan(self, after: int, look: _Look) -> tuple[FeedPage, bool]:
        """The page, and whether the end of the feed was reached."""
        for _ in range(_SCANS):
            async with self._readers:
                rows = await self.pool.fetch(
                    SQL["scan_feed"], after, _SCAN_ROWS, look.type, look.pattern, look.limit, _PAGE_BYTES
                )
            first = rows[0]
            _check(after, first["pruned_through"], first["head"], from_oldest=look.from_oldest)
            items = tuple(FeedItem(row["seq"], json.loads(row["body"])) for row in rows if row["seq"] is not None)
            if items and not len(items) == first["wanted_rows"] < look.limit:
                return FeedPage(items, items[-1].cursor), False
            after = first["scanned_through"] or max(after, first["pruned_through"])
            at_end = first["scanned_rows"] < _SCAN_ROWS
            if items or at_end:
                return FeedPage(items, after), at_end
        return FeedPage((), after), False


@dataclass(frozen=True, slots=True)
class _Look:
    """What a reader wants to see."""

    limit: int
    type: str | None
    pattern: str | None
    from_oldest: bool


def _check(after: int, pruned_through: int, head: int, *, from_oldest: bool) -> None:
    if after > head:
        raise Rejected(
            "cursor_unknown",
            "the cursor lies behind the end of the feed",
            expected=f"<= {head}",
            actual=after,
            hint="cursors belong to one installation; start again with after=0 or without a cursor",
        )
    if after < pruned_through and not from_oldest:
        raise CursorGone(
            "cursor_gone",
            "events after this cursor are no longer kept",
            expected=f">= {pruned_through}",
            actual=after,
            hint="start at the oldest kept one with after=0; what came between is in the registry and the audit log",
        )


def like_pattern(glob: str) -> str:
    """A glob (`*`, `?`) as a LIKE pattern that means the same."""
    escaped = glob.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")
