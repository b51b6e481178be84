"""Reading a publication: copy each file in from a landing bucket, hash every byte, look at its format."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from muniment.checksum_validator.domain import Found, differs, judge, mismatch
from muniment.checksum_validator.formats import inspect
from muniment.contracts.canonical import sha256_hex
from muniment.contracts.errors import NotFound, PreconditionFailed, Rejected, Transient
from muniment.contracts.events import ObjectLocation, StagedFile, ValidatedFile
from muniment.ports.blobs import BlobStore, HashResult, Location
from muniment.runtime.stop_point import reached

_FILES_AT_ONCE: Final = 4
_BY_HAND: Final = 64 * 1024
"""Bytes up to which reading and writing a file costs a store less than its own copy does; beyond, the copy wins."""


@dataclass(frozen=True, slots=True)
class FileReader:
    """Reads files by version-id. Memory stays bounded whatever a file holds."""

    blobs: BlobStore
    bucket: str
    allow_executable: bool

    async def read_all(self, files: Sequence[StagedFile], progress: Callable[[int], None]) -> tuple[ValidatedFile, ...]:
        """All files of a publication as validated, some at a time. The first error ends the reading of the others."""
        slots = asyncio.Semaphore(_FILES_AT_ONCE)
        paths = frozenset(file.path for file in files)

        def count(size: int) -> None:  # called in the reading thread
            progress(size)
            reached("checksum-validator.mid-file")

        async def one(file: StagedFile) -> ValidatedFile:
            async with slots:
                return await self.read(file, count, paths)

        reads = [asyncio.ensure_future(one(file)) for file in files]
        try:
            read = tuple(await asyncio.gather(*reads))
        finally:
            for task in reads:
                task.cancel()
            await asyncio.gather(*reads, return_exceptions=True)
        reached("checksum-validator.read")
        return read

    async def read(
        self, file: StagedFile, progress: Callable[[int], None], siblings: frozenset[str] = frozenset()
    ) -> ValidatedFile:
        """The file as validated.

        1. A file in a landing bucket is copied first, on the condition that it still is the version that was named:
           what is hashed then is what was stored here, where its owner cannot change it.
        2. Hash every byte of exactly that version-id.
        3. A mismatch is read once more before it is called one: damage on the way is not the file's fault.
        4. Look at the format by content; nothing is ever deserialised.

        Raises `Rejected` with the verdict, `Transient` when the store does not answer as it should.
        """
        place = named = Location(file.location.bucket, file.location.key, file.location.version_id)
        try:
            if file.origin == "landing":
                place = await self._copy_in(file, place)
            hashed = await self.blobs.hash(place, expected_size=file.size, progress=progress)
            found = self._found(place, hashed)
            if differs(file, found):
                again = await self.blobs.hash(place)
                if (again.sha256, again.size) != (hashed.sha256, hashed.size):
                    raise Transient("store_inconsistent", f"two reads of {file.path} gave different bytes")
                raise mismatch(file, found)
        except NotFound as error:
            if place != named:  # the store's fault: it has acknowledged our copy a moment ago
                raise Transient(
                    "store_inconsistent", f"the copy of {file.path} is not there", expected=place
                ) from error
            raise Rejected(
                "file_missing",
                f"{file.path} is not in the store any more",
                expected=f"{file.location.key} version {file.location.version_id}",
                actual="deleted",
                hint="publish the file again",
            ) from error
        reader = self.blobs.random_reader(place, size=hashed.size, edges=hashed.edges)
        inspection = await asyncio.to_thread(inspect, reader, name=file.path, declared=file.format)
        return judge(
            file,
            Found(found.location, found.sha256, found.size, inspection),
            allow_executable=self.allow_executable,
            siblings=siblings,
        )

    async def _copy_in(self, file: StagedFile, place: Location) -> Location:
        """Copy a landing file. A small one that is as declared is read and written.

        Whatever is not as declared goes the general way, and is judged by what was stored then.
        """
        key = f"blobs/sha256/{file.sha256[:2]}/{file.sha256}"
        if file.size <= _BY_HAND:
            data = await self.blobs.read_whole(place)
            if data is not None and len(data) == file.size and sha256_hex(data) == file.sha256:
                return await self.blobs.put(self.bucket, key, data)
        source = await self.blobs.stat(place.bucket, place.key, place.version_id)
        if source.size != file.size:
            raise mismatch(file, Found(file.location, file.sha256, source.size))
        try:
            return await self.blobs.copy(source, self.bucket, key)
        except PreconditionFailed as error:
            raise Transient("source_changed", f"{file.path} changed while it was copied") from error

    @staticmethod
    def _found(place: Location, hashed: HashResult) -> Found:
        location = ObjectLocation(bucket=place.bucket, key=place.key, version_id=place.version_id)
        return Found(location, hashed.sha256, hashed.size)
