"""Admission: whether new work can be taken, decided before a request's body is read.

Three bounds, each on something that would otherwise grow with what clients send: requests that are being served in this
process, events that wait for the broker, and publications that were accepted and have not ended. Records on the topics
need none: the broker holds them, and a consumer takes one batch at a time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog

from muniment.contracts.errors import Transient
from muniment.ingest.store import SQL
from muniment.runtime.delivery.transaction import SQL as DELIVERY_SQL

if TYPE_CHECKING:
    import asyncpg

log = structlog.get_logger(__name__)

MAX_BACKLOG: Final = 10_000
"""Events that wait to be published, at most: more means that the broker has been away for long."""
MAX_PIPELINE: Final = 10_000
"""Publications that are accepted and have not ended, at most."""
MAX_IN_FLIGHT: Final = 64
"""Requests of the way in that are served at a time in one process: several for each connection to the database."""
_FRESH_S: Final = 1.0
_COUNT_DEADLINE_S: Final = 5.0
_RATE_OVER_S: Final = 5.0
_QUIET_PER_SECOND: Final = 0.1
RETRY_AFTER_S: Final = (1, 30)
"""The shortest and the longest wait that is asked for, in seconds."""


def retry_after(ahead: float, per_second: float) -> int:
    """Whole seconds until `ahead` have left at this rate, within `RETRY_AFTER_S`; the longest where none leaves."""
    shortest, longest = RETRY_AFTER_S
    if per_second * longest <= ahead:
        return longest
    return max(shortest, math.ceil(ahead / per_second))


@dataclass(slots=True)
class Rate:
    """How often something happens: a count that fades over about `_RATE_OVER_S` seconds."""

    _count: float = 0.0
    _at: float = 0.0

    def add(self, many: float, now: float) -> None:
        """It happened so often."""
        self._count = self._faded(now) + many
        self._at = now

    def per_second(self, now: float) -> float:
        """Its rate by now."""
        return self._faded(now) / _RATE_OVER_S

    def _faded(self, now: float) -> float:
        return self._count * math.exp((self._at - now) / _RATE_OVER_S)


@dataclass(slots=True)
class Intake:
    """The bounds of one process. What waits in the database is counted once a second at most, and up to its bound.

    `ended` counts up with the publications that have ended; the wait that a refusal asks for is reckoned from its rate.
    """

    pool: asyncpg.Pool[Any]
    max_backlog: int = MAX_BACKLOG
    max_pipeline: int = MAX_PIPELINE
    max_in_flight: int = MAX_IN_FLIGHT
    ended: Callable[[], int] = lambda: 0
    in_flight: int = 0
    _backlog: int = 0
    _pipeline: int = 0
    _counted_at: float = float("-inf")
    _seen_ended: int = 0
    _served: Rate = field(default_factory=Rate)
    _leaving: Rate = field(default_factory=Rate)
    _refused: Rate = field(default_factory=Rate)
    _refusing: bool = False

    async def begin(self) -> AsyncIterator[None]:
        """A dependency of what begins a publication: holds a place while the request is served.

        Raises `Transient` with `retry_after`: `intake_busy`, `intake_paused`, `pipeline_full`.
        """
        async with self._place(1):
            yield

    async def complete(self) -> AsyncIterator[None]:
        """The same for what completes one, with twice the room: what was begun goes before what is new."""
        async with self._place(2):
            yield

    @asynccontextmanager
    async def _place(self, room: int) -> AsyncIterator[None]:
        clock = asyncio.get_running_loop().time
        max_in_flight, max_pipeline = room * self.max_in_flight, room * self.max_pipeline
        if self.in_flight >= max_in_flight:
            raise self._refusal("intake_busy", "too many requests are being served", max_in_flight, self._served)
        self.in_flight += 1
        try:
            await self._count()
            if self._backlog >= self.max_backlog:
                raise self._refusal(
                    "intake_paused", "too many events wait for the broker", self.max_backlog, self._leaving
                )
            if self._pipeline >= max_pipeline:
                raise self._refusal(
                    "pipeline_full", "too many publications have not ended yet", max_pipeline, self._leaving
                )
            self._told(refusing=False)
            yield
        finally:
            self.in_flight -= 1
            self._served.add(1, clock())

    async def _count(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._counted_at < _FRESH_S:
            return
        gap, self._counted_at = now - self._counted_at, now  # first, so that only one request of a crowd counts
        ended = self.ended()
        self._leaving.add((ended - self._seen_ended) * min(1.0, _RATE_OVER_S / gap), now)
        self._seen_ended = ended
        async with asyncio.timeout(_COUNT_DEADLINE_S), self.pool.acquire() as connection:
            self._backlog = await connection.fetchval(DELIVERY_SQL["backlog"]) or 0
            self._pipeline = await connection.fetchval(SQL["pipeline"], 2 * self.max_pipeline) or 0

    def _refusal(self, code: str, message: str, bound: int, leaving: Rate) -> Transient:
        """The error for one request. It waits for all that were refused of late: they come back as it does."""
        now = asyncio.get_running_loop().time()
        self._refused.add(1, now)
        self._told(refusing=True, code=code)
        error = Transient(
            code, message, expected=f"< {bound}", hint="try again after Retry-After with the same Idempotency-Key"
        )
        error.retry_after = retry_after(self._refused.per_second(now), leaving.per_second(now))
        return error

    def _told(self, *, refusing: bool, code: str | None = None) -> None:
        """Log that it begins or ends, not each refusal."""
        now = asyncio.get_running_loop().time()
        if refusing and not self._refusing:
            log.warning("intake refuses requests", code=code, backlog=self._backlog, pipeline=self._pipeline)
            self._refusing = True
        elif self._refusing and not refusing and self._refused.per_second(now) < _QUIET_PER_SECOND:
            log.info("intake takes requests again")
            self._refusing = False
