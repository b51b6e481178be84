"""Whether the process can do its work: each part asked at once, each with its own deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from muniment.contracts.errors import MunimentError
from muniment.runtime.logging import mask

DEADLINE_S: Final = 2.0

Check = Callable[[], Awaitable[None]]
"""Returns when the part answers as it should; raises what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the checks and notes found, ready for JSON."""

    ready: bool
    checks: dict[str, dict[str, Any]]
    notes: dict[str, dict[str, Any]]


class Readiness:
    """Runs the checks. Callers that ask at the same time share one round, so probes cannot pile up on a sick part.

    Notes are asked likewise and told, and make nothing unready: a process that left would mend none of it.
    """

    def __init__(
        self, checks: Mapping[str, Check], notes: Mapping[str, Check] | None = None, *, deadline_s: float = DEADLINE_S
    ) -> None:
        self._checks = dict(checks)
        self._notes = dict(notes or {})
        self._deadline_s = deadline_s
        self._round: asyncio.Task[Report] | None = None

    async def report(self) -> Report:
        """What every part says now. Never raises, never takes longer than the deadline."""
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._run())
        return await asyncio.shield(self._round)

    async def _run(self) -> Report:
        asked = (*self._checks.values(), *self._notes.values())
        found = await asyncio.gather(*map(self._one, asked))
        checks = dict(zip(self._checks, found, strict=False))
        notes = dict(zip(self._notes, found[len(checks) :], strict=True))
        return Report(all(one["ok"] for one in checks.values()), checks, notes)

    async def _one(self, check: Check) -> dict[str, Any]:
        started = time.perf_counter()
        why: str | None = None
        try:
            async with asyncio.timeout(self._deadline_s) as deadline:
                await check()
        except TimeoutError as error:
            why = f"no answer within {self._deadline_s:g} s" if deadline.expired() else _why(error)
        except Exception as error:  # noqa: BLE001  # reason: whatever a check raises is its finding, and is told
            why = _why(error)
        found: dict[str, Any] = {"ok": why is None, "seconds": round(time.perf_counter() - started, 4)}
        return found if why is None else {**found, "why": why}


def _why(error: Exception) -> str:
    text = str(error) if isinstance(error, MunimentError) else f"{type(error).__name__}: {error}"
    return mask(text)[:300]
