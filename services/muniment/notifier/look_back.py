"""Looking back over the feed with a filter, in bounded steps: for previews and replays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg

from muniment.notifier.domain import Filter, facts_of_json
from muniment.notifier.feed import like_pattern
from muniment.notifier.store import SQL

if TYPE_CHECKING:
    from muniment.runtime.delivery.transaction import Connection

    Pool = asyncpg.Pool[asyncpg.Record]

_SCAN_ROWS: Final = 10_000
_READ_ROWS: Final = 1_000
_READ_BYTES: Final = 4 * 1024 * 1024
"""What one statement looks at: rows by their names, rows read whole, and bytes of these."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a look back begins: after this cursor. `pruned`: events after the start that was asked for are gone."""

    cursor: int
    pruned: bool


@dataclass(frozen=True, slots=True)
class Past:
    """An event of the feed that a filter matches."""

    cursor: int
    key: UUID
    event: Mapping[str, Any]
    """The CloudEvent in structured JSON."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one step found, oldest first, and the cursor after what it looked at. `complete`: it reached the end."""

    items: Sequence[Past]
    cursor: int
    complete: bool


async def start_at(pool: Pool | Connection, since: datetime) -> Start:
    """The place of the first event that was recorded at `since` or later."""
    [row] = await pool.fetch(SQL["seq_before"], since)
    cursor, kept_since = row["before"], row["kept_since"]
    pruned = row["pruned_through"] > 0 and (cursor < row["pruned_through"] or kept_since is None or since < kept_since)
    return Start(cursor, pruned)


async def start_after(pool: Pool | Connection, cursor: int) -> Start:
    """After a cursor; 0 is the oldest event that is kept."""
    pruned_through: int = await pool.fetchval(SQL["pruned_through"])
    return Start(cursor, 0 < cursor < pruned_through)


async def look_back(connection: Connection | Pool, wanted: Filter, after: int, limit: int) -> Stretch:
    """The next stretch: at most `limit` events that match. Of what it looked at nothing is passed over."""
    rows = await connection.fetch(
        SQL["look_back"],
        after,
        _SCAN_ROWS,
        sorted(wanted.types) or None,
        None if wanted.model is None else like_pattern(wanted.model.lower()),
        _READ_ROWS,
        _READ_BYTES,
    )
    first = rows[0]
    read = [row for row in rows if row["seq"] is not None]
    found: list[Past] = []
    for row in read:
        event = json.loads(row["body"])
        if wanted.matches(facts_of_json(event)):
            found.append(Past(row["seq"], row["key"], event))
            if len(found) == limit:
                last = row is read[-1] and _all_read(first, read) and first["scanned_rows"] < _SCAN_ROWS
                return Stretch(found, row["seq"], complete=last)
    if read and not _all_read(first, read):
        return Stretch(found, read[-1]["seq"], complete=False)
    return Stretch(found, first["scanned_through"] or after, complete=first["scanned_rows"] < _SCAN_ROWS)


def _all_read(first: asyncpg.Record, read: Sequence[asyncpg.Record]) -> bool:
    """Whether every row whose name fits was read, so that the scan counts and not the last row read."""
    return bool(len(read) == first["wanted_rows"] < _READ_ROWS)
