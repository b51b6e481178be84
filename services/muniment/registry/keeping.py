"""Keeping: the lock of whatever a version refers to is extended before it runs out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import asyncpg
import structlog

from muniment.adapters.postgres import RACES, UNAVAILABLE
from muniment.contracts.errors import MunimentError, NotFound
from muniment.ports.blobs import BlobStore, Location, Lock
from muniment.ports.clock import Clock
from muniment.registry.store import SQL

log = structlog.get_logger(__name__)

_BATCH: Final = 200
_TRIED_AGAIN: Final[tuple[type[Exception], ...]] = (MunimentError, *UNAVAILABLE, *RACES)


@dataclass(frozen=True, slots=True)
class Keeper:
    """Extends locks. Running it twice at once does no harm: a lock is never shortened."""

    pool: asyncpg.Pool[Any]
    blobs: BlobStore
    clock: Clock
    margin_s: int
    lost: Callable[[int | str, Location], Awaitable[None]] | None = None
    """Told of an object's (or a manifest's) id whose version-id the store does not have any more."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self) -> None:
        """Look for ending locks, for ever."""
        while True:
            try:
                while await self.extend_some():
                    pass
            except _TRIED_AGAIN as error:
                log.warning("locks not extended; trying again", error=repr(error)[:300])
            await self.sleep(max(1.0, min(3600.0, self.margin_s / 10)))

    async def extend_some(self) -> int:
        """Extend one batch of locks that end within the margin; returns how many were. One that is gone is told, and
        keeps none of the others from theirs.
        """
        now = self.clock.now()
        before = now + timedelta(seconds=self.margin_s)
        done = 0
        for find, update in (("locks_ending", "extend_lock"), ("manifest_locks_ending", "extend_manifest_lock")):
            for row in await self.pool.fetch(SQL[find], before, _BATCH):
                # Retention shorter than the margin would otherwise be extended over and over for nothing.
                until = now + timedelta(seconds=max(row["retention_s"], 2 * self.margin_s))
                place = Location(row["bucket"], row["key"], row["version_id"])
                try:
                    held = await self.blobs.lock(place, Lock(mode=row["lock_mode"], until=until))
                except NotFound as error:
                    if error.code == "bucket_not_found":
                        raise
                    log.exception("what is to be kept is gone from the store", place=str(place))
                    if self.lost is not None:
                        await self.lost(row["id"], place)
                    continue
                await self.pool.execute(SQL[update], row["id"], held.until)
                done += 1
        return done
