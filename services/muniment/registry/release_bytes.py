"""A release's bytes: read again, and for a physical copy put into the track's bucket, under a key of their digest."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from muniment.contracts.errors import NotFound, PreconditionFailed, Rejected, Transient
from muniment.contracts.events import ObjectLocation, VersionFile
from muniment.ports.blobs import BlobStore, Location

T = TypeVar("T")

_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class ReleaseBytes:
    """Reads and copies by version-id. Every byte that a release refers to was read when it was made."""

    blobs: BlobStore

    async def checked(self, files: Sequence[VersionFile]) -> tuple[VersionFile, ...]:
        """The files as they are, after all bytes were read. Raises `Rejected` (`bytes_damaged`, `bytes_missing`)."""
        by_place = {_place(file): file for file in files}
        await _each([self._check(file) for file in by_place.values()])
        return tuple(files)

    async def copied(self, files: Sequence[VersionFile], bucket: str) -> tuple[VersionFile, ...]:
        """The files with the places of their copies, after what was stored there was read.

        A right copy that lies there already is used: so a second try refers to the same version-ids as the first.
        Raises as `checked`.
        """
        by_digest = {file.sha256: file for file in files}
        places = await _each([self._copy(file, bucket) for file in by_digest.values()])
        found = dict(zip(by_digest, places, strict=True))
        return tuple(file.model_copy(update={"location": found[file.sha256]}) for file in files)

    async def _copy(self, file: VersionFile, bucket: str) -> ObjectLocation:
        key = f"releases/blobs/{file.sha256[:2]}/{file.sha256}"
        try:
            there = await self.blobs.stat(bucket, key)
        except NotFound:
            pass
        else:
            if there.size == file.size and await self._is_right(there, file):
                return ObjectLocation(bucket=bucket, key=key, version_id=there.version_id)
        place = _place(file)
        try:
            source = await self.blobs.stat(place.bucket, place.key, place.version_id)
            copy = await self.blobs.copy(source, bucket, key)
        except NotFound as error:
            raise _missing(file) from error
        except PreconditionFailed as error:
            raise Transient("source_changed", f"{file.path} changed while it was copied") from error
        if not await self._is_right(copy, file):
            await self._check(file)  # its own bytes are at fault, or else the way
            raise Transient("copy_damaged", f"the copy of {file.path} is not what was copied", expected=file.sha256)
        return ObjectLocation(bucket=bucket, key=key, version_id=copy.version_id)

    async def _check(self, file: VersionFile) -> None:
        place = _place(file)
        try:
            # Read twice before it is called damage: the first time it may have been the way.
            if await self._is_right(place, file) or await self._is_right(place, file):
                return
        except NotFound as error:
            raise _missing(file) from error
        raise Rejected(
            "bytes_damaged",
            f"{file.path} is not what was committed",
            expected=f"sha256:{file.sha256}, {file.size} B",
            actual="other bytes",
            hint="put bytes with the same digest back, or release another version",
        )

    async def _is_right(self, place: Location, file: VersionFile) -> bool:
        read = await self.blobs.hash(place, expected_size=file.size)
        return (read.sha256, read.size) == (file.sha256, file.size)


async def _each(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(step: Coroutine[Any, Any, T]) -> T:
        async with slots:
            return await step

    return await asyncio.gather(*(one(step) for step in work))


def _place(file: VersionFile) -> Location:
    return Location(file.location.bucket, file.location.key, file.location.version_id)


def _missing(file: VersionFile) -> Rejected:
    return Rejected(
        "bytes_missing",
        f"{file.path} is not in the store any more",
        expected=str(_place(file)),
        actual="nothing",
        hint="put bytes with the same digest back, or release another version",
    )
