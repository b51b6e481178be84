"""A release's bytes: read again, and for a physical copy put into the track's bucket, under a key of their digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muniment.contracts.errors import NotFound, PreconditionFailed, Transient
from muniment.contracts.events import ObjectLocation, VersionFile
from muniment.ports.blobs import BlobStore
from muniment.registry.bytes_check import CommittedBytes, each, missing, place_of


@dataclass(frozen=True, slots=True)
class ReleaseBytes:
    """Reads and copies by version-id. Every byte that a release refers to was read when it was made."""

    committed: CommittedBytes

    @property
    def _blobs(self) -> BlobStore:
        return self.committed.blobs

    async def checked(self, files: Sequence[VersionFile]) -> tuple[VersionFile, ...]:
        """The files as they are, after all bytes were read. Raises `Rejected` (`bytes_damaged`, `bytes_missing`)."""
        await self.committed.check(files)
        return tuple(files)

    async def copied(self, files: Sequence[VersionFile], bucket: str) -> tuple[VersionFile, ...]:
        """The files with the places of their copies, after what was stored there was read.

        A right copy that lies there already is used: so a second try refers to the same version-ids as the first.
        Raises as `checked`.
        """
        by_digest = {file.sha256: file for file in files}
        places = await each([self._copy(file, bucket) for file in by_digest.values()])
        found = dict(zip(by_digest, places, strict=True))
        return tuple(file.model_copy(update={"location": found[file.sha256]}) for file in files)

    async def _copy(self, file: VersionFile, bucket: str) -> ObjectLocation:
        key = f"releases/blobs/{file.sha256[:2]}/{file.sha256}"
        try:
            there = await self._blobs.stat(bucket, key)
        except NotFound:
            pass
        else:
            if there.size == file.size and await self.committed.is_right(there, file):
                return ObjectLocation(bucket=bucket, key=key, version_id=there.version_id)
        place = place_of(file)
        try:
            source = await self._blobs.stat(place.bucket, place.key, place.version_id)
            copy = await self._blobs.copy(source, bucket, key)
        except NotFound as error:
            raise missing(file) from error
        except PreconditionFailed as error:
            raise Transient("source_changed", f"{file.path} changed while it was copied") from error
        if not await self.committed.is_right(copy, file):
            await self.committed.check_file(file)  # its own bytes are at fault, or else the way
            raise Transient("copy_damaged", f"the copy of {file.path} is not what was copied", expected=file.sha256)
        return ObjectLocation(bucket=bucket, key=key, version_id=copy.version_id)
