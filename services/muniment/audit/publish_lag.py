"""How late the published log is: entries that wait for a checkpoint, since when, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from muniment.audit.publisher import LASTING
from muniment.contracts.errors import MunimentError, Transient
from muniment.runtime.metrics import Metrics
from muniment.runtime.sql import load_queries

SQL: Final = load_queries("muniment.audit", "keeping")
LATE_S: Final = 5.0
"""Entries are under a checkpoint within a second; longer than this is told."""
LOOK_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class PublishLag:
    """Looks at what Postgres holds, whoever publishes. `trouble` is what this process's publisher failed with last."""

    pool: asyncpg.Pool[Any]
    trouble: Callable[[], Exception | None]
    metrics: Metrics | None = None

    async def run(self) -> None:
        """Keep the metric up to date, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> float:
        """Seconds that the oldest entry without a checkpoint has waited; 0 where none waits."""
        row = await self.pool.fetchrow(SQL["waits_since"], timeout=10)
        lag = 0.0 if row is None else max(0.0, (row["now"] - row["created_at"]).total_seconds())
        if self.metrics is not None:
            self.metrics.audit_publish_lag.set(lag)
        return lag

    async def check(self) -> None:
        """Raises `Transient` while entries have waited for too long (`audit_publish_late`), or will for certain: the
        key is missing, the log damaged. For `/readyz`.
        """
        lag = await self.look()
        trouble = self.trouble()
        if lag <= LATE_S and not (isinstance(trouble, Transient) and trouble.code in LASTING):
            return
        raise Transient(
            "audit_publish_late",
            f"{code_of(trouble)}: the audit log is not published",
            expected="a checkpoint within a second of an entry",
            actual=f"entries wait since {lag:.0f} s" if lag else "no entry waits yet; the next one will",
            hint="no error in this process: does the audit service run?" if trouble is None else str(trouble)[:400],
        )


def code_of(trouble: Exception | None) -> str:
    """A word for what is in the way: an error's stable code, or its kind; `audit_publish_late` where none is known."""
    if trouble is None:
        return "audit_publish_late"
    return trouble.code if isinstance(trouble, MunimentError) else type(trouble).__name__
