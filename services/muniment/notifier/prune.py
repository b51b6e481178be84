"""Pruning: what is older than it needs to be goes, in small transactions.

An event and its delivered deliveries are kept `feed_days`. A delivery that is still pending when its whole schedule has
surely passed (its subscription was paused, or its endpoint drowned in its backlog) becomes dead; dead ones stay another
`feed_days` to be looked at. An event stays as long as a delivery of it does.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog

from muniment.adapters.postgres import RACES, UNAVAILABLE
from muniment.notifier.store import SQL
from muniment.ports.clock import Clock

if TYPE_CHECKING:
    import asyncpg

log = structlog.get_logger(__name__)

_EVERY_S: Final = 600.0
_ROWS: Final = 1_000
_SCHEDULE_DAYS: Final = 5
"""The schedule of attempts takes about three days; five leave room for Retry-After and outages."""


@dataclass(frozen=True, slots=True)
class Pruner:
    """Run `run` as a task."""

    pool: asyncpg.Pool[Any]
    clock: Clock
    feed_days: int

    async def run(self) -> None:
        """Prune every ten minutes, for ever."""
        while True:
            try:
                await self.prune()
            except (*UNAVAILABLE, *RACES) as error:
                log.warning("pruning stopped early", error=repr(error)[:300])
            await asyncio.sleep(_EVERY_S)

    async def prune(self) -> None:
        """Remove everything that is due to go now."""
        keep = timedelta(days=self.feed_days)
        unfinished = timedelta(days=max(self.feed_days, _SCHEDULE_DAYS))
        now = self.clock.now()
        old, expired, forgotten = [
            await self.pool.fetchval(SQL["boundary"], before)
            for before in (now - keep, now - unfinished, now - unfinished - keep)
        ]
        await self._batches("expire_deliveries", expired)
        await self._batches("prune_deliveries", old, "delivered")
        await self._batches("prune_deliveries", forgotten, "dead")
        await self._batches("prune_deleted_deliveries")
        await self.pool.execute(SQL["prune_subscriptions"])
        await self.pool.execute(SQL["prune_secrets"])
        await self.pool.execute(SQL["prune_damped"])
        while await self._prune_events(old) == _ROWS:
            pass

    async def _batches(self, name: str, *arguments: object) -> None:
        while int((await self.pool.execute(SQL[name], *arguments, _ROWS)).rpartition(" ")[2]) == _ROWS:
            pass

    async def _prune_events(self, boundary: int) -> int:
        async with self.pool.acquire(timeout=30) as connection, connection.transaction():
            row = await connection.fetchrow(SQL["prune_events"], boundary, _ROWS)
            if row is None:
                return 0
            await connection.execute(SQL["mark_pruned"], row["through"])
            return int(row["rows"])
