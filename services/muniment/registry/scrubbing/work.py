"""The scrubber's loop: lease what waits longest, read it slowly, record what was found.

Any number of processes share the work. One bucket of bytes in the database is the pace of all of them together; leases
with an epoch keep two from reading the same, and from recording what another has read since. A process that is killed
stops renewing: its objects fall due again, and are read from their beginning.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import structlog

from muniment.adapters.postgres import RACES, UNAVAILABLE
from muniment.contracts.errors import MunimentError, Transient
from muniment.ports.blobs import Location
from muniment.registry.bytes_check import CommittedBytes, Damage, Read, unreadable
from muniment.registry.scrubbing.damages import Damages
from muniment.registry.scrubbing.reading import PacedReader
from muniment.registry.scrubbing.repairs import Repairs
from muniment.registry.scrubbing.rules import REST, SMALL, cost_of, cycle_rate, reading_rate
from muniment.registry.store import SCRUBBING
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.metrics import Metrics
from muniment.runtime.settings import ScrubSettings
from muniment.runtime.stop_point import reached

log = structlog.get_logger(__name__)

TRIED_AGAIN: Final[tuple[type[Exception], ...]] = (MunimentError, OSError, *UNAVAILABLE, *RACES)
"""A store or a database that does not answer as it should: by itself no statement about the bytes."""
IDLE_S: Final = 5.0
_PUT_OFF_S: Final = 60.0
FAILURES: Final = 3
"""Reads in a row that the store fails, while it gives something else, before what was read counts as damaged."""
_COUNT_EVERY_S: Final = 300.0
_QUIET_S: Final = 60.0
"""How long the cycle rests, at most, where nothing may be read yet; passes are looked for all the while."""
_OBJECTS: Final = 32
_AT_ONCE: Final = 4
_BATCH_S: Final = 10.0
"""A lease is of about so many seconds of reading."""


@dataclass(slots=True)
class _Lease:
    """An object that this process reads now; `done` bytes of it were read."""

    id: int
    place: Location
    sha256: str
    size: int
    epoch: int
    damaged: bool
    done: int = 0


@dataclass(slots=True)
class Scrubber:
    """The scrubber of one process. Run `run` as a task; `step` is one turn of it."""

    transactions: Transactions
    committed: CommittedBytes
    damages: Damages
    repairs: Repairs
    reader: PacedReader
    settings: ScrubSettings
    metrics: Metrics
    lease_s: float = 60.0
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _counted_at: float = float("-inf")
    _quiet_until: float = float("-inf")
    _cost: int = 0
    _oldest_s: float | None = None

    def wake(self) -> None:
        """A pass was asked for, or something may be repaired."""
        self._woken.set()

    async def run(self) -> None:
        """Scrub, for ever."""
        while True:
            self._woken.clear()
            try:
                pause = await self.step()
            except TRIED_AGAIN as error:
                log.warning("scrubbing stopped early; trying again", error=repr(error)[:300])
                pause = IDLE_S
            if pause > 0:
                try:
                    async with asyncio.timeout(min(pause, IDLE_S)):
                        await self._woken.wait()
                except TimeoutError:
                    pass

    async def step(self) -> float:
        """Repair what can be, then read one batch. Returns how many seconds there is nothing to do, at least."""
        try:
            await self.repairs.mend(self._read_good)
        except TRIED_AGAIN as error:
            log.warning("nothing repaired; trying again", error=repr(error)[:300])
        await self._count()
        asked = await self.transactions.pool.fetchrow(SCRUBBING["open_run"])
        now = asyncio.get_running_loop().time()
        if asked is None and (not self.settings.enabled or now < self._quiet_until):
            return IDLE_S
        rate = float(self.settings.max_bytes_per_s)
        if asked is None:
            rate = cycle_rate(self._cost, self.settings.cycle_s, rate, self._oldest_s)
        leases, pause = await self._lease(rate, asked)
        if leases:
            return await self._work(leases)
        if pause == 0.0 and asked is not None:
            if await self.transactions.pool.fetchval(SCRUBBING["finish_run"], asked["id"]) is not None:
                return 0.0
            return 1.0  # what is left is being read by others, or could not be read a moment ago
        pause = pause or IDLE_S
        if asked is None:
            self._quiet_until = now + min(pause, _QUIET_S)
        return pause

    async def _lease(self, rate: float, asked: Any) -> tuple[list[_Lease], float]:
        """Objects to read now; else seconds until there may be some (0: none is due)."""
        at_most = self.settings.max_bytes_per_s
        self.reader.pace.rate = reading_rate(rate, at_most)
        if asked is None:
            since, model = self.transactions.clock.now() - timedelta(seconds=REST * self.settings.cycle_s), None
        else:
            since, model = asked["requested_at"], asked["model_id"]
        async with self.transactions.begin() as tx:
            debt = await tx.connection.fetchval(SCRUBBING["pay_off"], rate)
            if debt > 0:
                return [], debt / rate
            rows = await tx.connection.fetch(
                SCRUBBING["lease"], _OBJECTS, self.lease_s, int(self.reader.pace.rate * _BATCH_S), since, model
            )
            leases = [
                _Lease(
                    row["id"],
                    Location(row["bucket"], row["key"], row["version_id"]),
                    row["sha256"],
                    row["size"],
                    row["epoch"],
                    row["damaged"],
                )
                for row in rows
                if row["needed"]
            ]
            # What nothing needs is passed over, so that it is never in the way of what is.
            spare = [(row["id"], row["epoch"]) for row in rows if not row["needed"]]
            if spare:
                await tx.connection.execute(SCRUBBING["mark_right"], *map(list, zip(*spare, strict=True)))
            await tx.connection.execute(SCRUBBING["borrow"], float(cost_of(lease.size for lease in leases)))
        return leases, 0.0 if leases or not rows else 0.01

    async def _work(self, leases: list[_Lease]) -> float:
        """Read the leased objects and record each; long to pause where none could be read."""
        left = {lease.id: lease for lease in leases}
        slots = asyncio.Semaphore(_AT_ONCE)
        read = 0

        async def one(lease: _Lease) -> None:
            nonlocal read
            async with slots:
                read += await self._scrub(lease)
                del left[lease.id]

        renewing = asyncio.create_task(self._renew(left))
        tasks = [asyncio.create_task(one(lease)) for lease in leases]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in (renewing, *tasks):
                task.cancel()
            await asyncio.gather(renewing, *tasks, return_exceptions=True)
            await self._give_back(list(left.values()))
        return 0.0 if read else IDLE_S

    async def _scrub(self, lease: _Lease) -> bool:
        """Read one object and record it; False where it could not be read, and nothing is known of its bytes."""

        def progress(count: int) -> None:
            lease.done += count
            self.metrics.scrubbed_bytes.inc(count)

        async def read(place: Location, size: int) -> Read:
            return await self.reader.read(place, size, progress)

        try:
            damage = await self.committed.look(lease.place, lease.sha256, lease.size, read)
        except TRIED_AGAIN as error:
            log.warning("committed bytes could not be read", place=str(lease.place), error=repr(error)[:300])
            damage = await self._put_off(lease, error)
            if damage is None:
                return False
        reached("registry.scrub-read")
        if damage is not None:
            await self.damages.record(lease.id, damage, lease.epoch)
        elif lease.damaged:
            await self.damages.healed(lease.id, lease.epoch)
        else:
            await self.transactions.pool.execute(SCRUBBING["mark_right"], [lease.id], [lease.epoch])
        return True

    async def _put_off(self, lease: _Lease, error: Exception) -> Damage | None:
        """Try an unread object again later. Damage where the store itself gives no bytes of it, and does of others.

        A store finds bytes that rotted on its disks by its own checksums, and answers with an error for ever.
        """
        store_failed = isinstance(error, Transient)
        failures = await self.transactions.pool.fetchval(
            SCRUBBING["put_off"], lease.id, lease.epoch, _PUT_OFF_S, str(error)[:500], store_failed
        )
        if not store_failed or failures is None or (failures < FAILURES and not lease.damaged):
            return None
        beside = await self.transactions.pool.fetchrow(SCRUBBING["manifest_beside"], lease.id)
        if beside is None:
            return None
        try:
            await self.committed.blobs.hash(Location(beside["bucket"], beside["key"], beside["version_id"]))
        except TRIED_AGAIN:
            return None  # the store fails others as well: that is an outage
        return unreadable(lease.sha256, lease.size, failures, error)

    async def _read_good(self, place: Location, size: int) -> Read:
        return await self.reader.read(place, size, self.metrics.scrubbed_bytes.inc)

    async def _renew(self, left: dict[int, _Lease]) -> None:
        """Keep the leases, and tell how far they are."""
        while True:
            await asyncio.sleep(min(1.0, self.lease_s / 3))
            mine = list(left.values())
            try:
                await self.transactions.pool.execute(
                    SCRUBBING["renew"],
                    [lease.id for lease in mine],
                    [lease.epoch for lease in mine],
                    [min(lease.done, lease.size) for lease in mine],
                    self.lease_s,
                )
            except (*UNAVAILABLE, *RACES) as error:
                log.info("leases not renewed", error=repr(error)[:200])

    async def _give_back(self, leases: list[_Lease]) -> None:
        """Let other processes have the unread objects at once, not when their leases end."""
        if not leases:
            return
        try:
            await self.transactions.pool.execute(
                SCRUBBING["give_back"], [lease.id for lease in leases], [lease.epoch for lease in leases]
            )
        except (*UNAVAILABLE, *RACES) as error:
            log.info("leases not given back; they end by themselves", error=repr(error)[:200])

    async def _count(self) -> None:
        """Look from time to time how much there is to read, for the rate and the metrics."""
        now = asyncio.get_running_loop().time()
        if now - self._counted_at < _COUNT_EVERY_S:
            return
        row = await self.transactions.pool.fetchrow(SCRUBBING["totals"], SMALL)
        if row is None:
            return
        self._cost, self._oldest_s = row["cost"], row["oldest_s"]
        self.metrics.scrub_oldest.set(row["oldest_s"] or 0.0)
        self.metrics.damaged_files.set(await self.transactions.pool.fetchval(SCRUBBING["damaged_files"]))
        self._counted_at = now
