"""Where a stream of events begins: after a cursor, at a time, at the oldest event kept, or now."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from muniment.contracts.errors import Rejected
from muniment.notifier.feed import Feed
from muniment.notifier.look_back import start_at

if TYPE_CHECKING:
    import asyncpg

BEGINNING: Final = "beginning"
_CURSOR: Final = re.compile(r"[0-9]{1,19}")
_MAX_CURSOR: Final = 2**63 - 1


def start_of(last_event_id: str | None, since: str | None) -> int | datetime | None:
    """A cursor, a time, or None for now. `Last-Event-ID` comes first: a browser that reconnects repeats its URL.

    Raises `Rejected` (`cursor_invalid`, `since_invalid`).
    """
    if last_event_id:
        if (cursor := _cursor(last_event_id)) is None:
            raise Rejected(
                "cursor_invalid",
                "Last-Event-ID is no cursor of this stream",
                expected="the id of an event of this stream, as it came",
                actual=repr(last_event_id[:80]),
                hint="start again with ?since=TIME or ?since=beginning",
            )
        return cursor
    if not since:
        return None
    if since == BEGINNING:
        return 0
    if (cursor := _cursor(since)) is not None:
        return cursor
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Rejected(
            "since_invalid",
            "since cannot be read",
            expected="a time with its offset (2026-01-02T03:04:05Z), a cursor, or beginning",
            actual=repr(since[:80]),
        )
    return moment


def _cursor(text: str) -> int | None:
    if not _CURSOR.fullmatch(text) or int(text) > _MAX_CURSOR:
        return None
    return int(text)


async def cursor_at(pool: asyncpg.Pool[Any], feed: Feed, start: int | datetime | None) -> int:
    """The cursor to go on from. A time before the oldest event kept means the oldest.

    Raises `Rejected` (`cursor_unknown`), `CursorGone`.
    """
    if isinstance(start, datetime):
        return (await start_at(pool, start)).cursor
    page = await feed.read(start, limit=1)
    return page.cursor if start is None else start
