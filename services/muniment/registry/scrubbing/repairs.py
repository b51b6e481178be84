"""Repair: the files of a damaged object move to another object that holds the same bytes.

In this order, so that a crash costs nothing: read the good bytes, lock their version-id at least as long as the damaged
ones are promised to be kept, then one transaction moves every file of every version and release, with events and
entries. The damaged object stays where it is, referred to by nothing: `gc` frees it once its own lock has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from muniment.contracts.errors import NotFound
from muniment.contracts.events import Cause
from muniment.contracts.identity import Principal
from muniment.contracts.model import rfc3339
from muniment.ports.blobs import Location, Lock
from muniment.registry.bytes_check import CommittedBytes, Reader
from muniment.registry.diverging import SERVICE
from muniment.registry.domain import Matched
from muniment.registry.scrubbing.damages import MAX_HOLDERS, Damages, cause_of, location_of, tell_restored
from muniment.registry.store import SCRUBBING
from muniment.runtime.delivery.transaction import Transactions, Tx
from muniment.runtime.stop_point import reached

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 20


@dataclass(frozen=True, slots=True)
class Repairs:
    """Moves to good bytes."""

    transactions: Transactions
    committed: CommittedBytes
    damages: Damages
    margin_s: int
    """A good object is locked for longer than this at least; the keeper goes on from there."""

    async def mend(self, read: Reader | None = None) -> int:
        """Repair what other committed objects have the bytes of; returns how many objects that were."""
        mended = 0
        for row in await self.transactions.pool.fetch(SCRUBBING["repairable"], _AT_ONCE):
            good = Location(row["bucket"], row["key"], row["version_id"])
            damage = await self.committed.look(good, row["sha256"], row["size"], read)
            if damage is not None:  # it is no better; the next one is tried next time
                await self.damages.record(row["id"], damage)
                continue
            cause = cause_of(row["damaged"], rfc3339(self.transactions.clock.now()))
            mended += await self.move(row["damaged"], good, SERVICE, cause)
        return mended

    async def move(self, damaged_id: int, good: Location, by: Principal, cause: Cause) -> bool:
        """Move the files of a damaged object to bytes that were just read; False where it is damaged no more."""
        row = await self.transactions.pool.fetchrow(SCRUBBING["lock_object"], damaged_id)
        if row is None or row["damaged_at"] is None:
            return False
        until = max(row["locked_until"], self.transactions.clock.now() + timedelta(seconds=2 * self.margin_s))
        try:
            held = await self.committed.blobs.lock(good, Lock(mode=row["lock_mode"], until=until))
        except NotFound as error:  # collected between the reading and this
            log.warning("good bytes went away before they were locked", place=str(good), error=repr(error)[:300])
            return False
        reached("registry.repair-locked")
        async with self.transactions.begin() as tx:
            row = await tx.connection.fetchrow(SCRUBBING["lock_object"], damaged_id)
            if row is None or row["damaged_at"] is None:
                return False
            place = (good.bucket, good.key, good.version_id)
            good_id = await tx.connection.fetchval(
                SCRUBBING["put_good"], *place, row["sha256"], row["size"], held.mode, held.until
            )
            holders = await tx.connection.fetch(SCRUBBING["holders"], damaged_id, MAX_HOLDERS)
            await tx.connection.execute(SCRUBBING["move_files"], damaged_id, good_id)
            to = location_of({"bucket": good.bucket, "key": good.key, "version_id": good.version_id})
            tell_restored(tx, row, to, holders, by, cause)
            reached("registry.repair-recorded")
        log.info("damaged bytes were replaced", damaged=str(location_of(row)), good=str(good), files=len(holders))
        return True


async def offer(tx: Tx, matched: Sequence[Matched]) -> None:
    """Keep where the locked bytes of publications lie that made no new version: they may be what a repair needs."""
    files = [
        (outcome.commit.sealed, file) for outcome in matched for file in outcome.commit.sealed.draft.publication.files
    ]
    if not files:
        return
    await tx.connection.execute(
        SCRUBBING["offer"],
        [file.location.bucket for _, file in files],
        [file.location.key for _, file in files],
        [file.location.version_id for _, file in files],
        [file.sha256 for _, file in files],
        [file.size for _, file in files],
        [sealed.draft.track.lock_mode for sealed, _ in files],
        [sealed.locked_until for sealed, _ in files],
    )
