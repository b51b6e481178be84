"""The sweep: bytes below the upload keys that no publication and no version needs, older than a grace period.

What is left there: uploads and copies of publications that were rejected or abandoned, repeated uploads of bytes that
are committed already (each is a version-id of its own), and uploads in parts that nobody goes on with.

What goes has to pass all of this; the first two are kept by the store, not by a clock:
1. *It was never locked.* Whatever a version or a release refers to was locked before a row said so (the registry's
   `sealing.py`), and the store tells a version-id's lock for ever, ended or not. So committed bytes are never even
   looked at twice here, also where ingest has forgotten them; those of deleted versions are for `gc`.
2. *The store lets go of it.* If a commit locks it between the look and the deletion, the deletion is refused: a locked
   version-id cannot be deleted by anybody. The commit then has its bytes. There is no third order.
3. *No publication that has not ended declares its digest.* That is asked in the transaction that holds the table of
   uploads against writers until the store has answered. Nobody can begin to rely on an old version-id meanwhile: an
   upload is taken by `complete` only after its row was written by `begin`, so either the row is seen here and the
   version-id stays, or `begin` waits, and `complete` finds it gone (`upload_missing`) rather than losing it later. Held
   bytes were locked once (1). Files in landing buckets are copied anew for each publication, under a digest that it
   declares: neither the copies nor their parts go before it ends.
4. *It is older than the grace period*, for publications that this database knows nothing of: those of another region.
   Even then only an upload is lost (`bytes_missing`, before a version is recorded), never a version's bytes.
Deleting what is gone already is no error, so a sweep may be repeated, and several may run at once. What is about to go
is in the log before anything does (`muniment.runtime.leftovers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from pydantic import StrictBool

from muniment.contracts.events import Cause
from muniment.contracts.identity import Principal
from muniment.contracts.model import Payload, rfc3339
from muniment.ingest.slots import UPLOADS
from muniment.ingest.store import Store
from muniment.ports.blobs import BlobStore, ListCursor, ObjectLocked
from muniment.ports.clock import Clock
from muniment.runtime import leftovers
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.http.pages import Page, page_token
from muniment.runtime.leftovers import BATCH, Leftover, of_objects, of_uploads
from muniment.runtime.stop_point import reached

_SHOWN: Final = 100
_DIGEST_OF: Final = leftovers.digests_below(UPLOADS)


class Sweep(Payload):
    """What to do."""

    dry_run: StrictBool = True


@dataclass(frozen=True, slots=True)
class Sweeping:
    """Finds leftovers of `bucket` that are older than `grace`, and frees them."""

    store: Store
    transactions: Transactions
    blobs: BlobStore
    clock: Clock
    bucket: str
    grace: timedelta

    async def sweep(self, wanted: Sweep, page: Page, by: Principal, cause: Cause) -> dict[str, Any]:
        """Look at one page of the bucket, objects first and then uploads in parts; free, or tell what would be.

        `kept` counts those that a publication or a lock has saved at the last moment. One audit entry for each batch.
        """
        after = page.after(str, str, str)
        kind = "object" if after is None else after[0]
        looked, found, following = await self._listed(kind, after, page.limit)
        left = await self._unneeded(found)
        gone = left if wanted.dry_run else await self._free(left, by, cause)
        return {
            "dry_run": wanted.dry_run,
            "place": {"bucket": self.bucket, "prefix": UPLOADS},
            "looked_at": looked,
            "leftovers": len(gone),
            "size": sum(one.size for one in gone),
            "kept": len(left) - len(gone),
            "digest": leftovers.digest(gone),
            "older_than": rfc3339(self.clock.now() - self.grace),
            "items": [one.fields() for one in gone[:_SHOWN]],
            "next_page_token": page_token(page.list_of, following) if following else None,
        }

    async def _listed(
        self, kind: str, after: Sequence[str] | None, limit: int
    ) -> tuple[int, list[Leftover], tuple[str, str, str] | None]:
        """How many were looked at, those that are old enough, and where the next page begins."""
        before = self.clock.now() - self.grace
        cursor = ListCursor(after[1], after[2]) if after and any(after[1:]) else None
        if kind == "upload":
            uploads = await self.blobs.list_uploads(self.bucket, prefix=UPLOADS, after=cursor, limit=limit)
            more = uploads.next
            mark = None if more is None else ("upload", more.key, more.version_id)
            return len(uploads.items), of_uploads(uploads.items, before, _DIGEST_OF), mark
        objects = await self.blobs.list_versions(self.bucket, prefix=UPLOADS, after=cursor, limit=limit)
        following = ("upload", "", "")
        if objects.next is not None:
            following = ("object", objects.next.key, objects.next.version_id)
        return len(objects.items), of_objects(objects.items, before, _DIGEST_OF), following

    async def _unneeded(self, found: Sequence[Leftover]) -> list[Leftover]:
        """Those that nothing needs as far as a look tells: the databases first, then the store."""
        digests = {one.sha256 for one in found}
        needed = await self.store.needed(self.store.pool, digests)
        held = await self.store.held_versions(digests, [one.id for one in found if one.kind == "object"])
        asked = [one for one in found if one.sha256 not in needed and one.id not in held]

        async def never_locked(one: Leftover) -> bool:
            return one.kind == "upload" or await self.blobs.retention(one.place) is None

        free = await leftovers.each(never_locked(one) for one in asked)
        leftovers.raise_first(free)
        return [one for one, is_free in zip(asked, free, strict=True) if is_free]

    async def _free(self, left: Sequence[Leftover], by: Principal, cause: Cause) -> list[Leftover]:
        gone: list[Leftover] = []
        for start in range(0, len(left), BATCH):
            gone += await self._free_batch(left[start : start + BATCH], by, cause)
        return gone

    async def _free_batch(self, batch: Sequence[Leftover], by: Principal, cause: Cause) -> list[Leftover]:
        async with self.transactions.begin() as tx:
            leftovers.tell(tx, leftovers.CONDEMNED, batch, by, cause)
        reached("ingest.leftovers-condemned")
        async with self.transactions.begin() as tx:
            await self.store.hold_uploads(tx.connection)
            needed = await self.store.needed(tx.connection, {one.sha256 for one in batch})
            asked = [one for one in batch if one.sha256 not in needed]
            answers = await leftovers.each(leftovers.delete(self.blobs, one) for one in asked)
            gone = [one for one, answer in zip(asked, answers, strict=True) if answer is None]
            reached("ingest.leftovers-deleted")
            if gone:  # also where some failed: what went is in the log
                leftovers.tell(tx, leftovers.SWEPT, gone, by, cause)
        leftovers.raise_first(answers, but=ObjectLocked)
        return gone
