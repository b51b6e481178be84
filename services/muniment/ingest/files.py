"""Finding a publication's files in the store: each is pinned to one version-id, or the publication is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from muniment.contracts.errors import Misconfigured, NotFound, Rejected, Transient
from muniment.contracts.events import DeclaredFile, ObjectLocation, StagedFile
from muniment.contracts.file_path import landing_location
from muniment.ingest.domain import Refusal, check_size
from muniment.ports.blobs import BlobStore, ObjectVersion


class HeldBlobs(Protocol):
    """What ingest has learnt of committed bytes."""

    async def held(self, digests: Sequence[str]) -> Mapping[str, ObjectLocation]:
        """Where the bytes of these digests were last known to be, by digest."""
        ...

    async def forget_held(self, sha256: str, version_id: str) -> None:
        """They are there no longer."""
        ...


@dataclass(frozen=True, slots=True)
class Pinned:
    """The files that are in the store, and those whose bytes are not; both in the declared order."""

    files: tuple[StagedFile, ...]
    missing: tuple[DeclaredFile, ...]


@dataclass(slots=True)
class FileFinder:
    """Asks the store for files, at most `at_once` questions at a time over all publications."""

    blobs: BlobStore
    held: HeldBlobs
    landing_buckets: frozenset[str]
    at_once: int
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.at_once)

    async def pin(self, files: Sequence[DeclaredFile]) -> Pinned | Refusal:
        """Pin every file that has a location or is held already; one that has neither is `missing`.

        What is wrong with the input is a `Refusal` (of the first such file). Raises `Transient` where the store or its
        settings are at fault.
        """
        held = await self._held(sorted({file.sha256 for file in files if file.location is None}))
        found = await asyncio.gather(*(self._pin_one(file, held) for file in files))
        for outcome in found:
            if isinstance(outcome, Refusal):
                return outcome
        return Pinned(
            tuple(outcome for outcome in found if isinstance(outcome, StagedFile)),
            tuple(file for file, outcome in zip(files, found, strict=True) if outcome is None),
        )

    async def stat(self, bucket: str, key: str, version_id: str | None) -> ObjectVersion:
        """What the store says of an object. Raises `Rejected`, or `Transient` for all that is no fact about it."""
        async with self._slots:
            try:
                return await self.blobs.stat(bucket, key, version_id)
            except Misconfigured as error:  # an operator's mistake is no fact about the input: it waits for the cure
                raise Transient(error.code, error.message, actual=error.actual, hint=error.hint) from error

    async def _pin_one(self, file: DeclaredFile, held: Mapping[str, ObjectVersion]) -> StagedFile | Refusal | None:
        try:
            if file.location is not None:
                return _staged(file, await self._landed(file, file.location), "landing")
            if (version := held.get(file.sha256)) is not None:
                return _staged(file, version, "held")
        except Rejected as error:
            return Refusal(error, file.path)
        return None

    async def _landed(self, file: DeclaredFile, uri: str) -> ObjectVersion:
        bucket, key = landing_location(uri, allowed_buckets=self.landing_buckets)
        try:
            return await self.stat(bucket, key, file.version_id)
        except NotFound as error:
            which = "" if file.version_id is None else f" under version-id {file.version_id}"
            raise Rejected(
                "file_missing",
                f"the store has no such object{which}",
                expected=f"{file.size} B at {uri}",
                actual="nothing",
                hint="publish the event after the store has acknowledged the files",
            ) from error

    async def _held(self, digests: Sequence[str]) -> dict[str, ObjectVersion]:
        """Those of the digests whose bytes are held indeed: the store is asked, and what is gone is forgotten."""
        if not digests:
            return {}
        known = await self.held.held(digests)
        found = await asyncio.gather(*(self._still_held(sha256, location) for sha256, location in known.items()))
        return {sha256: version for sha256, version in zip(known, found, strict=True) if version is not None}

    async def _still_held(self, sha256: str, location: ObjectLocation) -> ObjectVersion | None:
        try:
            return await self.stat(location.bucket, location.key, location.version_id)
        except NotFound:
            await self.held.forget_held(sha256, location.version_id)
            return None


def missing_bytes(file: DeclaredFile) -> Refusal:
    """The refusal of a file that an event names without a location, when its bytes are not held."""
    error = Rejected(
        "bytes_missing",
        "the event names neither a location for the file, nor are its bytes held already",
        expected="a location in a landing bucket, or bytes of a committed version",
        actual=f"sha256 {file.sha256} is not held",
        hint="put the file into a landing bucket and name it, or publish by HTTP",
    )
    return Refusal(error, file.path)


def _staged(file: DeclaredFile, version: ObjectVersion, origin: Literal["landing", "held"]) -> StagedFile:
    check_size(file.size, version.size, "the object")
    return StagedFile(
        path=file.path,
        sha256=file.sha256,
        size=file.size,
        location=ObjectLocation(bucket=version.bucket, key=version.key, version_id=version.version_id),
        origin=origin,
        format=file.format,
        role=file.role,
    )
