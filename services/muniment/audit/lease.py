"""The right to append: one process at a time has it, and the log checks at every append who that is.

The lease is a Postgres advisory lock held by a session of its own. It ends by itself in every way a holder can end:

- the process dies: Postgres sees the connection close and gives the lock to the next in line, at once;
- the process hangs or is paused: the session says nothing for `silence_s` and Postgres ends it;
- the process has had its term of `term_s`: it goes to the end of the line. So two audit processes, by mistake or after
  a rebalance, take turns, and neither waits for ever.

A new holder raises the writer's epoch. Appending locks the writer's row and compares epochs (`store.lock_log`), so one
who slept past the end of its lease cannot append, however late it wakes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import structlog

from muniment.adapters.postgres import UNAVAILABLE
from muniment.contracts.errors import Transient
from muniment.runtime.sql import load_queries

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

log = structlog.get_logger(__name__)

SQL = load_queries("muniment.audit")

_LOST: Final[tuple[type[Exception], ...]] = (*UNAVAILABLE, asyncpg.PostgresError)
SILENCE_S: Final = 5.0
"""After so many seconds without a word from the holder's session, Postgres ends it."""


@dataclass(slots=True)
class _Term:
    connection: PoolConnectionProxy[Any]
    epoch: int
    began: float
    over: bool = False


class WriterLease:
    """Holds the lease while there is something to append. Run `keep` as a task: it gives the lease back afterwards.

    `term_s` is how long work may start under one term; it is over for certain after twice that. `wait_s` is how long
    to stand in line: longer than a term and than `silence_s`, so that only a live and hurried rival makes it fail.
    """

    def __init__(
        self, pool: asyncpg.Pool[Any], *, term_s: float = 1.0, silence_s: float = SILENCE_S, wait_s: float = 10.0
    ) -> None:
        self._pool = pool
        self._term_s, self._silence_s, self._wait_s = term_s, silence_s, wait_s
        self._holder = f"{socket.gethostname()}:{os.getpid()}"
        self._taking = asyncio.Lock()
        self._taken = asyncio.Event()
        self._term: _Term | None = None

    async def hold(self) -> int:
        """The epoch to append under; takes the lease if need be.

        Raises `Transient` (`audit_writer_busy`) when another process has it for longer than `wait_s`, and what
        asyncpg raises when the database is away.
        """
        if (term := self._running()) is not None:
            return term.epoch
        async with self._taking:
            if (term := self._running()) is None:
                await self._give_back()
                self._term = term = await self._take()
                self._taken.set()
            return term.epoch

    def fenced(self, epoch: int) -> None:
        """The log has refused this epoch: the next `hold` takes the lease anew."""
        if self._term is not None and self._term.epoch == epoch:
            self._term.over = True

    async def keep(self) -> None:
        """Give the lease back when its term is over. Runs until cancelled, and then gives it back at once."""
        try:
            while True:
                await self._taken.wait()
                while (term := self._term) is not None:
                    await asyncio.sleep(max(0.0, term.began + 2 * self._term_s - time.monotonic()))
                    async with self._taking:
                        if self._term is term:
                            await self._give_back()
                self._taken.clear()
        finally:
            await self.release()

    async def release(self) -> None:
        """Give the lease back, if it is held."""
        async with self._taking:
            await self._give_back()

    def _running(self) -> _Term | None:
        term = self._term
        if term is None or term.over or _is_lost(term.connection):
            return None
        return term if time.monotonic() - term.began < self._term_s else None

    async def _take(self) -> _Term:
        connection = await self._pool.acquire(timeout=self._wait_s)
        try:
            # A session that the server has ended unseen answers nothing: each step waits for it a bounded time.
            lock, idle = _ms(self._wait_s), _ms(self._silence_s)
            await connection.execute(SQL["prepare_session"], lock, idle, timeout=self._silence_s)
            await connection.execute(SQL["wait_for_turn"], timeout=self._wait_s + self._silence_s)
            epoch = await connection.fetchval(SQL["take_epoch"], self._holder, timeout=self._silence_s)
        except asyncpg.LockNotAvailableError as error:
            await self._back(connection)
            raise await self._busy() from error
        except BaseException:
            await self._back(connection)
            raise
        return _Term(connection, epoch, time.monotonic())

    async def _give_back(self) -> None:
        term, self._term = self._term, None
        if term is not None:
            await self._back(term.connection)

    async def _back(self, connection: PoolConnectionProxy[Any]) -> None:
        """Give a connection back without this session's lock and limits. A broken one is closed: both end with it."""
        try:
            try:
                await connection.reset(timeout=self._silence_s)
            except BaseException:
                if not _is_lost(connection):
                    connection.terminate()
                raise
            finally:
                await self._pool.release(connection)
        except _LOST as error:
            log.info("the lease's session was lost", error=repr(error)[:200])

    async def _busy(self) -> Transient:
        holder = await self._pool.fetchrow(SQL["writer"])
        return Transient(
            "audit_writer_busy",
            "another process is appending to the audit log and does not give way",
            expected=f"a turn within {self._wait_s:g} s",
            actual=f"epoch {holder['epoch']} of {holder['holder']}" if holder else "no writer row",
            hint="run one audit process for one database, or let several share one consumer group",
        )


def _is_lost(connection: PoolConnectionProxy[Any]) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has taken back what was left of it
        return True


def _ms(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"
