"""Checkpoints in Postgres are thinned out: the newest stay, of older ones the last of each hour, then of each day.

A year at a checkpoint a second has 31 million. Readers and the publisher need the newest alone; older ones are there
for whoever compares what was published with what somebody else was shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import structlog

from muniment.ports.clock import Clock
from muniment.runtime.sql import load_queries

log = structlog.get_logger(__name__)
SQL: Final = load_queries("muniment.audit", "keeping")
LOOK_S: Final = 60.0
_PAGE: Final = 2_000
_PAUSE_S: Final = 0.05
"""Between two pages: what there is to do in the first minutes after a year without is no hurry."""


@dataclass(frozen=True, slots=True)
class Aged:
    """A checkpoint: its size, and when it was published."""

    size: int
    at: datetime


def surplus(checkpoints: Sequence[Aged], hourly_since: datetime) -> list[int]:
    """The sizes that may go of consecutive checkpoints, the smallest first. Pure.

    Of each hour (UTC) the last stays, and of each day where it is older than `hourly_since`. The last given always
    stays: what follows it is not known here.
    """
    slots = [_slot(one.at, hourly_since) for one in checkpoints]
    return [one.size for one, slot, next_one in zip(checkpoints, slots, slots[1:], strict=False) if slot == next_one]


def _slot(at: datetime, hourly_since: datetime) -> tuple[bool, datetime]:
    hourly = at >= hourly_since
    hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return hourly, hour if hourly else hour.replace(hour=0)


@dataclass(frozen=True, slots=True)
class Thinning:
    """The newest `kept` checkpoints stay, and for `hourly_for` one an hour; from then on one a day."""

    pool: asyncpg.Pool[Any]
    clock: Clock
    kept: int
    hourly_for: timedelta

    async def run(self) -> None:
        """Thin out, for ever."""
        while True:
            await self.thin()
            await asyncio.sleep(LOOK_S)

    async def thin(self) -> int:
        """One walk over all but the newest; returns how many went."""
        end = await self.pool.fetchval(SQL["newest_kept"], self.kept)
        gone, after = 0, 0
        while end is not None:
            rows = await self.pool.fetch(SQL["older_checkpoints"], after, end, _PAGE)
            sizes = surplus([Aged(row["size"], row["published_at"]) for row in rows], self._hourly_since())
            if sizes:
                await self.pool.execute(SQL["drop_checkpoints"], sizes)
            gone += len(sizes)
            if len(rows) < _PAGE:
                break
            after = rows[-1]["size"] - 1  # the last is looked at again, beside its successor
            await asyncio.sleep(_PAUSE_S)
        if gone:
            log.info("checkpoints were thinned out", count=gone)
        return gone

    def _hourly_since(self) -> datetime:
        return self.clock.now() - self.hourly_for
