"""Tracks as administrators see and change them. Each change is one transaction with its audit entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg

from muniment.contracts.errors import Conflict, Misconfigured, NotFound, Rejected
from muniment.contracts.events import Cause, Change
from muniment.contracts.identity import Principal
from muniment.contracts.ids import printable
from muniment.contracts.model import rfc3339
from muniment.ports.blobs import BlobStore, check_bucket
from muniment.registry import track_rules
from muniment.registry.domain import Track
from muniment.registry.store import RELEASES, track_of
from muniment.registry.track_rules import TrackChange, track_name
from muniment.registry.tracks import Tracks
from muniment.runtime.delivery.transaction import Transactions, Tx
from muniment.runtime.http.pages import Page

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TrackChanges:
    """Shows tracks and changes them."""

    transactions: Transactions
    blobs: BlobStore
    tracks: Tracks
    default_bucket: str

    async def list(self, page: Page) -> Json:
        """Tracks by name."""
        await self.tracks.all()  # makes those that exist from the start
        (after,) = page.after(str) or ("",)
        rows = await self.transactions.pool.fetch(RELEASES["list_tracks"], after, page.fetch)
        return page.answer(rows, item=self._shown, key=lambda row: (row["name"],))

    async def show(self, name: str) -> Json:
        """One track. Raises `NotFound` (`track_not_found`)."""
        await self.tracks.all()
        row = await self.transactions.pool.fetchrow(RELEASES["track"], name)
        if row is None:
            raise NotFound("track_not_found", f"there is no track {name!r}", actual=name, hint="muniment tracks ls")
        return self._shown(row)

    async def put(self, name: str, change: TrackChange, by: Principal, cause: Cause) -> Json:
        """Make a track, or change one. What is locked stays locked, and goes on being kept as it was promised.

        Raises `Rejected` (`track_name_invalid`, `retention_missing`, `bucket_name_invalid`, `track_bucket_unfit`) and
        `Conflict` (`track_weakened`, `tracks_too_many`).
        """
        track_name(name)
        if change.bucket is not None:
            await self._prepare(change.bucket)
        await self.tracks.all()
        refusal: Rejected | None = None
        async with self.transactions.begin() as tx:
            await tx.connection.execute(RELEASES["lock_tracks"])
            row = await tx.connection.fetchrow(RELEASES["track"], name)
            before = None if row is None else track_of(row)
            if before is None and await tx.connection.fetchval(RELEASES["count_tracks"]) >= track_rules.MAX_TRACKS:
                raise Conflict("tracks_too_many", "there are too many tracks", expected=f"<= {track_rules.MAX_TRACKS}")
            try:
                after = track_rules.changed(name, before, change)
            except Conflict as error:
                refusal = error
                _audit(tx, name, by, cause, [], refused=printable(f"{error.code}: {error}"))
            else:
                changes = track_rules.differences(before, after)
                if changes:
                    await _write(tx, after, by)
                    _audit(tx, name, by, cause, changes)
        if refusal is not None:
            raise refusal
        self.tracks.forget()
        return await self.show(name)

    async def _prepare(self, bucket: str) -> None:
        """Make the bucket, or see that it is fit for locks. Raises `Rejected`: the administrator chose it."""
        try:
            await self.blobs.ensure_bucket(check_bucket(bucket), object_lock=True)
        except Misconfigured as error:
            raise Rejected(
                "track_bucket_unfit",
                f"the bucket {bucket} cannot hold locked bytes: {error.message}",
                expected="a new bucket, or one that was made with versioning and object lock",
                actual=error.code,
            ) from error

    def _shown(self, row: asyncpg.Record) -> Json:
        return {
            "name": row["name"],
            "bucket": row["bucket"] or self.default_bucket,
            "own_bucket": row["bucket"] is not None,
            "lock_mode": row["lock_mode"],
            "retention_s": row["retention_s"],
            "formats": row["formats"],
            "checks": row["checks"],
            "signature_required": row["signature_required"],
            "created_at": rfc3339(row["created_at"]),
            "created_by": row["created_by"],
            "changed_at": None if row["changed_at"] is None else rfc3339(row["changed_at"]),
            "changed_by": row["changed_by"],
        }


async def _write(tx: Tx, track: Track, by: Principal) -> None:
    await tx.connection.execute(
        RELEASES["change_track"],
        track.name,
        track.lock_mode,
        track.retention_s,
        track.bucket,
        None if track.formats is None else sorted(track.formats),
        list(track.checks),
        tx.now,
        by.operator,
        track.signature_required,
    )


def _audit(
    tx: Tx, name: str, by: Principal, cause: Cause, changes: list[Change], *, refused: str | None = None
) -> None:
    tx.audit(
        action="track.changed",
        resource=f"tracks/{name}",
        operator=by.operator,
        authenticated_by=by.authenticated_by,
        cause=cause,
        changes=changes,
        refused=refused is not None,
        reason=refused,
    )
