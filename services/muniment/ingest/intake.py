"""Whether new publications can be taken: what was accepted already must first be able to leave."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from muniment.contracts.errors import Transient
from muniment.runtime.delivery.transaction import SQL

if TYPE_CHECKING:
    import asyncpg

MAX_BACKLOG: Final = 10_000
"""Events that wait to be published, at most: more means that the broker has been away for long."""
_FRESH_S: Final = 1.0


@dataclass(slots=True)
class Intake:
    """Counts the events that wait in the outbox, once a second at most."""

    pool: asyncpg.Pool[Any]
    max_backlog: int = MAX_BACKLOG
    _rows: int = 0
    _counted_at: float = float("-inf")

    async def check(self) -> None:
        """Raise `Transient` (`intake_paused`) while too much waits."""
        now = asyncio.get_running_loop().time()
        if now - self._counted_at >= _FRESH_S:
            self._counted_at = now  # first, so that only one request of a crowd counts
            self._rows = await self.pool.fetchval(SQL["backlog"]) or 0
        if self._rows >= self.max_backlog:
            raise Transient(
                "intake_paused",
                "too many events wait to be published",
                expected=f"< {self.max_backlog}",
                actual=f"{self._rows} or more",
                hint="the broker is away or slow; try again with the same Idempotency-Key",
            )
