"""Checkpoints get the cosignatures of witnesses, beside their publication and never in its way.

A checkpoint is shown at once. Then the witnesses are asked, the newest checkpoint alone and at most once in `every_s`,
and the same checkpoint is shown again with their lines. By then it is recorded, so that everything which its
consistency proofs need is in Postgres, whichever sizes the witnesses hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from muniment.audit.published import PublishedLog
from muniment.audit.publisher import Publisher
from muniment.audit.witnessing import Witnesses
from muniment.runtime.metrics import Metrics
from muniment.runtime.sql import load_queries

if TYPE_CHECKING:
    import asyncpg

SQL: Final = load_queries("muniment.audit", "witnessing")
RETRY_S: Final = 10.0
"""Between two tries to get, for a checkpoint that stays the newest, the cosignatures that are still missing."""


@dataclass(slots=True)
class Cosigning:
    """Asks the witnesses for the checkpoints that this process has published."""

    pool: asyncpg.Pool[Any]
    log: PublishedLog
    publisher: Publisher
    witnesses: Witnesses
    every_s: float = 1.0
    metrics: Metrics | None = None
    _done: int = field(default=0)
    """The size whose checkpoint needs nothing more."""
    _asked: tuple[int, float] = field(default=(0, 0.0))

    async def run(self) -> None:
        """Until cancelled. Raises what Postgres and the store raise when they are away."""
        try:
            while True:
                await self.cosign()
                await asyncio.sleep(self.every_s)
        except asyncio.CancelledError:
            await self.witnesses.aclose()  # anything else begins the loop again
            raise

    async def cosign(self) -> None:
        """Ask for what the newest checkpoint lacks, and show it with what there is."""
        shown = self.publisher.shown
        if shown is None or shown[0] == self._done:
            return
        size, note = shown
        newest = await self.log.checkpoint()
        if newest.size != size:
            return  # another process has published since, and asks for it
        now = asyncio.get_running_loop().time()
        names = {row["witness"] for row in await self.pool.fetch(SQL["witnesses_of"], size)}
        missing = {one.name for one in self.witnesses.known} - names
        new: Sequence[str] = ()
        if missing:
            if self._asked[0] == size and now < self._asked[1] + RETRY_S:
                return
            self._asked = (size, now)
            new = await self.witnesses.cosign(note, size, self._proof)
            for line in new:
                name = line.split(" ")[1]
                await self.pool.execute(SQL["insert_cosignature"], size, name, line)
            self._count(new)
        if new or not missing:
            await self.publisher.show_cosigned(size, note + await self.log.cosignatures(size))
        if missing <= {line.split(" ")[1] for line in new}:
            self._done = size

    async def _proof(self, old: int, new: int) -> Sequence[bytes]:
        return (await self.log.consistency(old, new)).hashes

    def _count(self, lines: Sequence[str]) -> None:
        if self.metrics is None:
            return
        names = {line.split(" ")[1] for line in lines}
        for one in self.witnesses.known:
            outcome = "cosigned" if one.name in names else "failed"
            self.metrics.audit_cosignatures.labels(one.name, outcome).inc()
