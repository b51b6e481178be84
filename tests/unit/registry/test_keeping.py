"""The keeper of locks lives as long as its process: no outage ends it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg

from muniment.adapters.memory.store import MemoryBlobStore
from muniment.registry.keeping import Keeper


class Clock:
    def now(self) -> datetime:
        return datetime(2026, 5, 17, tzinfo=UTC)


class Pool:
    """Fails with each of these in turn, and then has nothing to extend."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.answered = asyncio.Event()

    async def fetch(self, *_: Any) -> list[Any]:
        if self.failures:
            raise self.failures.pop(0)
        self.answered.set()
        return []


async def test_an_outage_of_the_database_does_not_end_it() -> None:
    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    pool = Pool(
        ConnectionRefusedError(),
        TimeoutError(),
        asyncpg.ConnectionDoesNotExistError("closed"),
        asyncpg.InternalClientError("cannot switch to state 15"),
        asyncpg.LockNotAvailableError("busy"),
    )
    keeping = asyncio.create_task(Keeper(pool, MemoryBlobStore(), Clock(), 1, sleep=at_once).run())
    async with asyncio.timeout(10):
        await asyncio.wait([keeping, asyncio.ensure_future(pool.answered.wait())], return_when=asyncio.FIRST_COMPLETED)
    assert not keeping.done(), keeping.exception()
    keeping.cancel()
