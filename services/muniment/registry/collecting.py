"""Collecting garbage: bytes that no live version and no release refers to, once their lock has ended.

How a commit of the very same bytes is never harmed, whatever the moment:
1. A commit locks its bytes in the store before it touches a row (`sealing.py`). The store refuses to delete what is
   locked. So either the lock comes first, and the deletion here is refused; or the deletion does, and the lock is
   refused (`bytes_missing`): the version is never recorded, and the publisher uploads again.
2. Objects are condemned in a transaction of their own that holds their rows, and asks again whether they are needed.
   It skips rows that others hold and so waits for nobody. A commit that refers to a condemned object pardons it.
3. Just before the store is asked, the condemned ones are read again: what was pardoned meanwhile is left alone.
4. Only what the store has deleted is marked as freed. After a crash between, the next run condemns the same again:
   deleting what is gone is no error.
No deletion is without an entry: what is condemned is named in one (`objects.condemned`) in the transaction that
condemns, before anything goes, and what went in another (`objects.collected`), in the one that marks it as freed.
Rows of objects stay, as do manifests: what a deleted version was made of can always be told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import Field, StrictBool, StrictInt

from muniment.contracts.events import Cause, Change
from muniment.contracts.identity import Principal
from muniment.contracts.model import Payload, rfc3339
from muniment.ports.blobs import BlobStore, Location, ObjectLocked
from muniment.ports.clock import Clock
from muniment.registry.store import LINEAGE
from muniment.runtime.delivery.transaction import Transactions, Tx
from muniment.runtime.stop_point import reached

_BATCH: Final = 50
"""Freed between two transactions, and named in one entry."""
_SHOWN: Final = 100


class Collection(Payload):
    """What to do. `limit`: objects looked at in one request; `after` goes on where the one before has ended."""

    dry_run: StrictBool = True
    limit: Annotated[StrictInt, Field(ge=1, le=5_000)] = 1_000
    after: Annotated[StrictInt, Field(ge=0, lt=2**63)] = 0


@dataclass(slots=True)
class _Tally:
    objects: list[Any]
    kept: int = 0

    def add(self, rows: Sequence[Any]) -> None:
        self.objects.extend(rows)

    @property
    def digest(self) -> str:
        """SHA-256 over a line `bucket key version-id` for each object, sorted."""
        lines = sorted(f"{row['bucket']} {row['key']} {row['version_id']}\n" for row in self.objects)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def size(self) -> int:
        return sum(row["size"] for row in self.objects)


@dataclass(frozen=True, slots=True)
class Collecting:
    """Finds and frees."""

    transactions: Transactions
    blobs: BlobStore
    clock: Clock

    async def collect(self, wanted: Collection, by: Principal, cause: Cause) -> dict[str, Any]:
        """Free a bounded number of objects, or tell which it would be; `next` is the `after` of the next request.

        `kept` counts those that a commit or a lock in the store has saved at the last moment. The first request tells
        also of what nothing needs and a lock still holds: `locked`, `locked_size`, and when the first of the locks
        ends (`locked_until`). Two entries a batch.
        """
        held = {} if wanted.after else await self._held()
        tally = _Tally([])
        after, seen, more = wanted.after, 0, True
        while more and seen < wanted.limit:
            size = min(_BATCH, wanted.limit - seen)
            rows = await self.transactions.pool.fetch(LINEAGE["collectable"], after, self.clock.now(), size)
            more = len(rows) == size
            seen += len(rows)
            if rows:
                after = rows[-1]["id"]
                tally.add(rows if wanted.dry_run else await self._free([row["id"] for row in rows], by, cause))
                tally.kept += 0 if wanted.dry_run else len(rows)
        if not wanted.dry_run:
            tally.kept -= len(tally.objects)
        return {
            "dry_run": wanted.dry_run,
            "objects": len(tally.objects),
            "size": tally.size,
            "kept": tally.kept,
            "digest": tally.digest,
            **held,
            "items": [_shown(row) for row in tally.objects[:_SHOWN]],
            "next": after if more else None,
        }

    async def _held(self) -> dict[str, Any]:
        (row,) = await self.transactions.pool.fetch(LINEAGE["locked_garbage"], self.clock.now())
        until = row["until"] and rfc3339(row["until"])
        return {"locked": row["objects"], "locked_size": row["size"], "locked_until": until}

    async def _free(self, ids: Sequence[int], by: Principal, cause: Cause) -> list[Any]:
        async with self.transactions.begin() as tx:
            held = [row["id"] for row in await tx.connection.fetch(LINEAGE["lock_objects"], ids)]
            condemned = await tx.connection.fetch(LINEAGE["condemn"], held, tx.now)
            if not condemned:
                return []
            _tell_condemned(tx, condemned, by, cause)
        reached("registry.objects-condemned")
        still = {
            row["id"]
            for row in await self.transactions.pool.fetch(LINEAGE["still_condemned"], [row["id"] for row in condemned])
        }
        batch, locked = _Tally([]), []
        for row in condemned:
            if row["id"] in still:
                until = await self._delete(Location(row["bucket"], row["key"], row["version_id"]))
                if until is None:
                    batch.add([row])
                else:
                    locked.append((row["id"], until))
        batch.kept = len(condemned) - len(batch.objects)
        reached("registry.objects-deleted")
        async with self.transactions.begin() as tx:
            await tx.connection.execute(LINEAGE["free"], [row["id"] for row in batch.objects], tx.now)
            await tx.connection.execute(
                LINEAGE["pardon"], [object_id for object_id, _ in locked], [until for _, until in locked]
            )
            _tell_collected(tx, batch, by, cause)
        return batch.objects

    async def _delete(self, place: Location) -> datetime | None:
        """Delete a version of an object; when its lock ends, where the store refuses."""
        try:
            await self.blobs.delete_version(place)
        except ObjectLocked:
            lock = await self.blobs.retention(place)
            return lock.until if lock else self.clock.now()
        return None


def _tell_condemned(tx: Tx, condemned: Sequence[Any], by: Principal, cause: Cause) -> None:
    tx.audit(
        action="objects.condemned",
        resource="objects",
        operator=by.operator,
        authenticated_by=by.authenticated_by,
        cause=cause,
        changes=[Change(path=f"{row['bucket']}/{row['key']}", before=_shown(row)) for row in condemned],
    )


def _tell_collected(tx: Tx, batch: _Tally, by: Principal, cause: Cause) -> None:
    tx.audit(
        action="objects.collected",
        resource="objects",
        operator=by.operator,
        authenticated_by=by.authenticated_by,
        cause=cause,
        changes=[
            Change(path="objects", after=len(batch.objects)),
            Change(path="size", after=batch.size),
            Change(path="kept", after=batch.kept),
            Change(path="digest", after=batch.digest),
        ],
    )


def _shown(row: Any) -> dict[str, Any]:
    return {name: row[name] for name in ("bucket", "key", "version_id", "size")}
