"""Full tiles and bundles stay locked: before a lock ends, it is extended by another whole retention.

A round walks over all full tiles by their index and looks at each one's lock in the store. Where it stands is in
Postgres, so a process that ends costs some tiles looked at twice. Extending never shortens: doing it again is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import structlog

from muniment.audit.bucket import LogBucket
from muniment.audit.tiles import WIDTH, Tile, completed
from muniment.contracts.errors import MunimentError, Transient
from muniment.runtime.metrics import Metrics
from muniment.runtime.sql import load_queries

if TYPE_CHECKING:
    from muniment.runtime.delivery.transaction import Connection

log = structlog.get_logger(__name__)
SQL: Final = load_queries("muniment.audit", "keeping")
BATCH: Final = 64
"""Bundles of a batch, each with the tiles that became full with it: at most 256 objects or so."""
AT_ONCE: Final = 4
LOOK_S: Final = 60.0
_PAUSE_S: Final = 0.2
_ROUNDS: Final = 10
"""Rounds, at least, in the time that is left of a lock when it is to be extended."""
_LONGEST: Final = timedelta(days=7)


def next_round(finished_at: datetime | None, margin: timedelta, now: datetime) -> bool:
    """Whether a round is due: often enough to see each lock several times between its margin and its end. Pure."""
    return finished_at is None or now >= finished_at + min(_LONGEST, margin / _ROUNDS)


@dataclass(frozen=True, slots=True)
class TileKeeper:
    """Extends what has less than `margin` left; raises the alarm below `alarm`. Processes take turns."""

    pool: asyncpg.Pool[Any]
    bucket: LogBucket
    margin: timedelta
    alarm: timedelta
    metrics: Metrics | None = None

    async def run(self) -> None:
        """Keep, for ever."""
        while True:
            try:
                while await self.step():  # noqa: ASYNC110 - batch after batch, and no wait for a condition
                    await asyncio.sleep(_PAUSE_S)
                await self.check()
            except MunimentError as error:
                log.error("locks of the audit log's tiles", code=error.code, error=str(error)[:500])  # noqa: TRY400 - no fault of the code: the error says all
            await asyncio.sleep(min(LOOK_S, max(1.0, self.margin.total_seconds() / (2 * _ROUNDS))))

    async def step(self) -> bool:
        """Look at one batch of tiles, if a round is due; whether there is more of it. Raises what the store raises."""
        async with self.pool.acquire(timeout=30) as connection:
            if not await connection.fetchval(SQL["try_round"]):
                return False
            try:
                return await self._step(connection)
            finally:
                if not connection.is_closed():
                    await connection.execute(SQL["end_round"])

    async def _step(self, connection: Connection) -> bool:
        now = self.bucket.clock.now()
        (row,) = await connection.fetch(SQL["round"])
        first, soonest = row["next_index"], row["soonest"]
        if first == 0 and not next_round(row["finished_at"], self.margin, now):
            return False
        count = await connection.fetchval(SQL["published_size"]) // WIDTH
        end = min(count, first + BATCH)
        ends = await self._extend(completed(first * WIDTH, end * WIDTH), now)
        soonest = min([one for one in (soonest, *ends) if one is not None], default=None)
        await connection.execute(SQL["move_round"], end, soonest)
        if end < count:
            return True
        await connection.execute(SQL["finish_round"], now)
        return False

    async def _extend(self, tiles: Iterable[Tile], now: datetime) -> list[datetime]:
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(tile: Tile) -> datetime:
            async with slots:
                return await self.bucket.keep(tile, now + self.margin) or now

        tasks = [asyncio.create_task(one(tile)) for tile in tiles]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def check(self) -> None:
        """What the alarm says. Raises `Transient` (`audit_locks_ending`) if a lock ends too soon. For `/readyz`."""
        (row,) = await self.pool.fetch(SQL["round"])
        known = [end for end in (row["soonest"], row["last_soonest"]) if end is not None]
        if not known:
            return  # nothing is full yet, or nothing was looked at
        rest = min(known) - self.bucket.clock.now()
        if self.metrics is not None:
            self.metrics.audit_lock_rest.set(rest.total_seconds())
        if rest < self.alarm:
            raise Transient(
                "audit_locks_ending",
                "full tiles of the audit log are not locked for long any more",
                expected=f"at least {self.alarm}",
                actual=str(rest),
                hint=f"does the store take longer locks in {self.bucket.name}? The log of the audit service tells why "
                "not; a tile that is gone is found by muniment audit verify",
            )
