"""The endless tasks of a process: begun again when a part they need was away, a failure of the whole when they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from muniment.adapters.postgres import RACES, UNAVAILABLE
from muniment.contracts.errors import Misconfigured, Transient

log = structlog.get_logger(__name__)

PASSING: Final[tuple[type[Exception], ...]] = (*UNAVAILABLE, *RACES, Transient)
PAUSE_S: Final = 1.0
CURE_PAUSE_S: Final = 5.0
"""Between two tries of a loop that waits for an operator: credentials taken away, a policy changed."""


class Loops:
    """Loops mend what they can themselves; this is the net below them: an outage never ends the process.

    Nor does an operator's mistake (`Misconfigured`) that is made while it runs: a store that refuses the credentials
    would end every replica, and their restarts, until it is cured. Settings are checked before the loops begin.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Run a loop."""
        self._tasks.add(asyncio.create_task(_kept_up(name, loop), name=name))

    def watch(self, task: asyncio.Task[None]) -> None:
        """Count a running task as one of them."""
        self._tasks.add(task)

    async def failed(self) -> None:
        """Wait until a loop ends, and raise its error."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.cancelled():
                continue
            if (error := task.exception()) is not None:
                raise error
            raise RuntimeError(f"{task.get_name()} ended by itself")

    async def stop(self) -> None:
        """End all of them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _kept_up(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await loop()
        except PASSING as error:
            log.warning("a loop lost a part it needs; it begins again", loop=name, error=repr(error)[:300])
            await asyncio.sleep(PAUSE_S)
        except Misconfigured as error:
            log.error("a loop waits for an operator", loop=name, code=error.code, error=str(error)[:500])  # noqa: TRY400 - no fault of the code: the error says all
            await asyncio.sleep(CURE_PAUSE_S)
        else:
            return
