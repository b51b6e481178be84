"""Sealing a draft in the store: the bytes' locks, then the locked manifest. Idempotent, so a crash costs nothing.

The plan, and what each step promises:
- Lock exactly the version-ids that the validator has read. From then on the checked bytes are the kept bytes: nobody
  can delete them or shorten the lock, and an overwrite of the key is another version-id.
- Write the manifest with `If-None-Match: *` and its lock in one request. Its name is its digest, so a second writer
  can only find its own bytes there. Then look at it under its version-id: a write that was acknowledged and is not
  there, or has no lock, is found.
Neither needs the other, so they go out together; only when both are done may a record say that the version exists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from muniment.contracts.errors import Misconfigured, NotFound, Rejected, Transient
from muniment.contracts.events import ValidatedFile, VersionFile
from muniment.contracts.oms.trust import Trust
from muniment.ports.blobs import BlobStore, Location, Lock
from muniment.ports.clock import Clock
from muniment.registry.domain import Draft, Sealed, Track
from muniment.registry.signatures import admit, judged
from muniment.runtime.stop_point import reached

LockedFile = ValidatedFile | VersionFile
_LOCKS_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals drafts; their manifests go into one bucket."""

    blobs: BlobStore
    clock: Clock
    bucket: str
    trust: Trust = field(default_factory=Trust)

    async def seal(self, draft: Draft) -> Sealed:
        """Check the draft's signature, if it has one; then lock the bytes and write the manifest.

        Raises `Rejected` (`bytes_missing`) when a validated version-id is gone, (`signature_invalid`,
        `signature_required`) before anything is locked; `Transient` when the store does not answer, `Misconfigured`
        when it refuses a lock: a version is never recorded without one.
        """
        signature = await judged(self.blobs, draft.publication.files, self.trust, self.clock.now())
        admit(signature, draft.track)
        lock = self.lock_of(draft.track)

        async def lock_files() -> None:
            await self.lock_files(draft.publication.files, lock)
            reached("registry.bytes-locked")

        async def write_manifest() -> Location:
            key = f"manifests/{draft.publication.model}/{draft.id.removeprefix('sha256:')}.json"
            return await self.write_manifest(self.bucket, key, draft.manifest, lock)

        _, manifest = await asyncio.gather(lock_files(), write_manifest())
        return Sealed(draft, manifest, lock.until, signature)

    def lock_of(self, track: Track) -> Lock:
        """The lock that a track asks for what is committed now."""
        until = self.clock.now() + timedelta(seconds=track.retention_s)
        return Lock(mode=track.lock_mode, until=until)  # type: ignore[arg-type]  # reason: the table's CHECK allows just the two modes

    async def lock_files(self, files: Sequence[LockedFile], lock: Lock) -> list[Lock]:
        """Lock exactly these version-ids; the locks that hold then, in order: a longer or stricter one stays.

        Raises `Rejected` (`bytes_missing`).
        """
        slots = asyncio.Semaphore(_LOCKS_AT_ONCE)

        async def lock_file(file: LockedFile) -> Lock:
            place = Location(file.location.bucket, file.location.key, file.location.version_id)
            async with slots:
                try:
                    return await self.blobs.lock(place, lock)
                except NotFound as error:
                    raise Rejected(
                        "bytes_missing",
                        f"the validated bytes of {file.path} are gone from the store",
                        expected=f"{place.key} version {place.version_id}",
                        actual="deleted",
                        hint="publish the files again",
                    ) from error

        return await asyncio.gather(*(lock_file(file) for file in files))

    async def write_manifest(self, bucket: str, key: str, text: bytes, lock: Lock) -> Location:
        """Write a manifest that is named by its digest, with its lock, and look at it.

        Raises `Transient` (`store_inconsistent`) and `Misconfigured` (`lock_refused`).
        """
        try:
            put = await self.blobs.put_once(bucket, key, text, content_type="application/json", lock=lock)
        except NotFound as error:
            if error.code == "bucket_not_found":
                raise
            # An old one was found, and a sweep took it before its lock: the next try writes it anew.
            raise Transient("store_inconsistent", f"a manifest at {key} went while it was locked") from error
        reached("registry.manifest-written")
        await self._check(put.location, lock)
        return put.location

    async def _check(self, manifest: Location, lock: Lock) -> None:
        try:
            stored = await self.blobs.stat(manifest.bucket, manifest.key, manifest.version_id)
        except NotFound as error:
            raise Transient(
                "store_inconsistent", "a manifest was acknowledged and is not there", expected=manifest
            ) from error
        if stored.lock is None or not stored.lock.covers(lock):
            raise Misconfigured(
                "lock_refused",
                f"the store took {manifest} with a lock and does not hold it",
                expected=f"{lock.mode} until {lock.until.isoformat()}",
                actual="no lock"
                if stored.lock is None
                else f"{stored.lock.mode} until {stored.lock.until.isoformat()}",
                hint="use a store that keeps S3 Object Lock; without it no version is registered",
            )
