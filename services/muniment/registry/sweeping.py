"""The registry's sweep: bytes that it has put or locked itself, and that no version or release came of.

What is left there: copies and manifests that a release was to have, and bytes and manifests that were locked for a
version which was refused or never recorded (an unknown parent, a crash that nobody tried again). Uploads that were
never locked are ingest's, whose sweep knows the publications that are running.

Places: `blobs/sha256/`, `manifests/` and `releases/` of the models' bucket and of every bucket that a track is in, or
was in once. What goes passes all:
1. *No row refers to it.* Whatever a version or a release has, or a matched publication has offered for repairs, has a
   row for ever (`stored_object`; of deleted versions' `gc` takes care). Waiting candidates' bytes are looked for too.
   Manifests are named by the row of their version or release, which stays.
2. *It was locked once*, below `blobs/sha256/`: so its publication has been validated, and no upload to it is running.
3. *Its lock has ended, and the grace period since then as well*; what was never locked is older than the grace period.
   Until then it is named (`locked`), with the moment from which it may go.
4. *The store lets go of it.* A commit or a release locks its bytes before it writes a row. If it does so between the
   look and the deletion, the deletion is refused; if the deletion comes first, the lock is (`bytes_missing`), and
   nothing is recorded: the publisher or the next try stores the bytes again. There is no third order.
Deleting what is gone already is no error, so a sweep may be repeated, and several may run at once.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from pydantic import StrictBool

from muniment.contracts.errors import NotFound
from muniment.contracts.events import Cause
from muniment.contracts.identity import Principal
from muniment.contracts.ids import Sha256
from muniment.contracts.model import Payload, rfc3339
from muniment.ports.blobs import BlobStore, ListCursor, ObjectLocked
from muniment.ports.clock import Clock
from muniment.registry.store import LINEAGE
from muniment.runtime import leftovers
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.http.pages import Page, page_token
from muniment.runtime.leftovers import Leftover
from muniment.runtime.stop_point import reached

COMMITTED: Final = "blobs/sha256/"
MANIFESTS: Final = "manifests/"
RELEASED: Final = "releases/"
COPIES: Final = "releases/blobs/"
_MANIFEST: Final = re.compile(r"(?:manifests/[^/]+|releases/[^/]+/[^/]+)/([0-9a-f]{64})\.json")
_SHOWN: Final = 100


class Sweep(Payload):
    """What to do."""

    dry_run: StrictBool = True


class Place(NamedTuple):
    """What one page is of. `kind`: objects, or uploads in parts, which only copies for releases are here."""

    bucket: str
    prefix: str
    kind: str


def places_of(buckets: Iterable[str]) -> list[Place]:
    """Every place in these buckets, in order."""
    kinds = ((COMMITTED, "object"), (MANIFESTS, "object"), (RELEASED, "object"), (COPIES, "upload"))
    return sorted(Place(bucket, *kind) for bucket in set(buckets) for kind in kinds)


def digest_of(key: str) -> Sha256 | None:
    """The SHA-256 that names what lies under a key: of bytes, or of a manifest."""
    if found := _MANIFEST.fullmatch(key):
        return Sha256(found[1])
    return _OF_BYTES(key) or _OF_COPIES(key)


_OF_BYTES: Final = leftovers.digests_below(COMMITTED)
_OF_COPIES: Final = leftovers.digests_below(COPIES)


class Looked(NamedTuple):
    """Leftovers of a page: what may go now, and what is locked with the moment from which it may."""

    free: list[Leftover]
    locked: list[tuple[Leftover, datetime]]


@dataclass(frozen=True, slots=True)
class Sweeping:
    """Finds leftovers that are older than `grace`, and frees them."""

    transactions: Transactions
    blobs: BlobStore
    clock: Clock
    bucket: str
    grace: timedelta

    async def sweep(self, wanted: Sweep, page: Page, by: Principal, cause: Cause) -> dict[str, Any]:
        """Look at one page of one place; free, or tell what would be. Each answer says which place it is about.

        `kept` counts those that a lock has saved at the last moment. Two audit entries for each batch that goes.
        """
        rows = await self.transactions.pool.fetch(LINEAGE["swept_buckets"])
        places = places_of([self.bucket, *(row["bucket"] for row in rows)])
        left_behind = {row["bucket"] for row in rows if not row["now"]} - {self.bucket}
        after = page.after(str, str, str, str, str)
        index = bisect_left(places, Place(*after[:3])) if after else 0
        place = places[min(index, len(places) - 1)]
        at = ListCursor(after[3], after[4]) if after and place == after[:3] and any(after[3:]) else None
        before = self.clock.now() - self.grace
        try:
            looked, found, more = await self._listed(place, at, page.limit, before)
        except NotFound as error:
            if error.code != "bucket_not_found" or place.bucket not in left_behind:
                raise
            looked, found, more = 0, [], None  # nothing keeps an administrator from removing an empty one
        left, locked = await self._unneeded(place, found, before)
        gone = left if wanted.dry_run else await self._free(left, by, cause)
        mark = (*place, more.key, more.version_id) if more else None
        if mark is None and index + 1 < len(places):
            mark = (*places[index + 1], "", "")
        return {
            "dry_run": wanted.dry_run,
            "place": {"bucket": place.bucket, "prefix": place.prefix},
            "looked_at": looked,
            "leftovers": len(gone),
            "size": sum(one.size for one in gone),
            "kept": len(left) - len(gone),
            "digest": leftovers.digest(gone),
            "older_than": rfc3339(before),
            "items": [one.fields() for one in gone[:_SHOWN]],
            "locked": len(locked),
            "locked_size": sum(one.size for one, _ in locked),
            "locked_items": [{**one.fields(), "free_from": rfc3339(since)} for one, since in locked[:_SHOWN]],
            "next_page_token": page_token(page.list_of, mark) if mark else None,
        }

    async def _listed(
        self, place: Place, at: ListCursor | None, limit: int, before: datetime
    ) -> tuple[int, list[Leftover], ListCursor | None]:
        """How many were looked at, those that are old enough, and where the place's next page begins."""
        if place.kind == "upload":
            uploads = await self.blobs.list_uploads(place.bucket, prefix=place.prefix, after=at, limit=limit)
            return len(uploads.items), leftovers.of_uploads(uploads.items, before, digest_of), uploads.next
        objects = await self.blobs.list_versions(place.bucket, prefix=place.prefix, after=at, limit=limit)
        return len(objects.items), leftovers.of_objects(objects.items, before, digest_of), objects.next

    async def _unneeded(self, place: Place, found: Sequence[Leftover], before: datetime) -> Looked:
        """Those that nothing needs as far as a look tells: the database first, then the store."""
        if place.kind == "upload" or not found:
            return Looked(list(found), [])
        rows = await self.transactions.pool.fetch(
            LINEAGE["unrecorded"],
            *([getattr(one, name) for one in found] for name in ("bucket", "key", "id", "sha256")),
        )
        unrecorded = {(row["key"], row["version_id"]) for row in rows}
        asked = [one for one in found if (one.key, one.id) in unrecorded]

        async def lock_end(one: Leftover) -> datetime | None:
            lock = await self.blobs.retention(one.place)
            return None if lock is None else lock.until

        answers = await leftovers.each(lock_end(one) for one in asked)
        leftovers.raise_first(answers)
        looked = Looked([], [])
        for one, until in zip(asked, answers, strict=True):
            if not isinstance(until, datetime):
                if place.prefix != COMMITTED:
                    looked.free.append(one)
            elif until < before:
                looked.free.append(one)
            else:
                looked.locked.append((one, until + self.grace))
        return looked

    async def _free(self, left: Sequence[Leftover], by: Principal, cause: Cause) -> list[Leftover]:
        gone: list[Leftover] = []
        for start in range(0, len(left), leftovers.BATCH):
            gone += await self._free_batch(left[start : start + leftovers.BATCH], by, cause)
        return gone

    async def _free_batch(self, batch: Sequence[Leftover], by: Principal, cause: Cause) -> list[Leftover]:
        async with self.transactions.begin() as tx:
            leftovers.tell(tx, leftovers.CONDEMNED, batch, by, cause)
        reached("registry.leftovers-condemned")
        answers = await leftovers.each(leftovers.delete(self.blobs, one) for one in batch)
        gone = [one for one, answer in zip(batch, answers, strict=True) if answer is None]
        reached("registry.leftovers-deleted")
        if gone:  # also where some failed: what went is in the log
            async with self.transactions.begin() as tx:
                leftovers.tell(tx, leftovers.SWEPT, gone, by, cause)
        leftovers.raise_first(answers, but=ObjectLocked)
        return gone
