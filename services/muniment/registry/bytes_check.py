"""Reading committed bytes again: what the scrubber does all the time, and whatever leads to them anew (a rollback, a
release) does first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from muniment.contracts.errors import Misconfigured, NotFound, Rejected, Transient
from muniment.contracts.events import VersionFile
from muniment.contracts.integrity import DamageCode
from muniment.ports.blobs import BlobStore, Located, Location

T = TypeVar("T")

_AT_ONCE: Final = 4
_HINT: Final = "put bytes with the same digest back, or choose another version"


class Read(Protocol):
    """What reading every byte gave; `HashResult` is one."""

    @property
    def sha256(self) -> str:
        """Hexadecimal."""
        ...

    @property
    def size(self) -> int:
        """In bytes."""
        ...


Reader = Callable[[Location, int], Awaitable[Read]]
"""Reads every byte of a version of an object, which is expected to have so many."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Committed bytes that are not what was committed. `expected` and `actual` are digest and size, for people."""

    code: DamageCode
    expected: str
    actual: str


Report = Callable[[Location, Damage], Awaitable[None]]
"""Called with damage that was found, before it is raised."""


@dataclass(frozen=True, slots=True)
class CommittedBytes:
    """Reads by version-id and compares the digests. A store that does not answer says nothing of the bytes: its
    `Transient` is raised.
    """

    blobs: BlobStore
    report: Report | None = None

    async def check(self, files: Sequence[VersionFile]) -> None:
        """Read every byte that the files refer to. Raises `Rejected` (`bytes_damaged`, `bytes_missing`)."""
        await each([self.check_file(file) for file in {place_of(file): file for file in files}.values()])

    async def check_file(self, file: VersionFile) -> None:
        """Read one file. Raises as `check`."""
        place = place_of(file)
        damage = await self.look(place, file.sha256, file.size)
        if damage is None:
            return
        if self.report is not None:
            await self.report(place, damage)
        if damage.code == "bytes_missing":
            raise missing(file)
        raise Rejected(
            "bytes_damaged",
            f"{file.path} is not what was committed",
            expected=damage.expected,
            actual=damage.actual,
            hint=_HINT,
        )

    async def look(self, place: Location, sha256: str, size: int, read: Reader | None = None) -> Damage | None:
        """The damage of a version of an object; None where every byte is what it was.

        Read twice before it is called damage: the first time it may have been the way. Raises `Transient`
        (`store_inconsistent`) where two reads differ, and `Misconfigured` (`bucket_missing`): a store without the
        bucket is more likely another store than a lost one.
        """
        read = read or self._hash
        expected = f"sha256:{sha256}, {size} B"
        try:
            seen: list[tuple[str, int]] = []
            for _ in range(2):
                found = await read(place, size)
                if (found.sha256, found.size) == (sha256, size):
                    return None
                seen.append((found.sha256, found.size))
        except NotFound as error:
            if error.code == "bucket_not_found":
                raise Misconfigured(
                    "bucket_missing",
                    f"the bucket {place.bucket} with committed bytes is not in the store",
                    expected=place.bucket,
                    actual="no such bucket",
                    hint="is MUNIMENT_S3__ENDPOINT the store that the versions were committed to?",
                ) from error
            if await self._is_there(place):
                raise Transient("store_inconsistent", f"{place} was not there, and then it was") from error
            return Damage("bytes_missing", expected, f"nothing at {place}"[:1900])
        if seen[0] != seen[1]:
            raise Transient(
                "store_inconsistent", f"two reads of {place} gave different bytes", expected=expected, actual=seen
            )
        return Damage("bytes_damaged", expected, f"sha256:{seen[0][0]}, {seen[0][1]} B")

    async def is_right(self, place: Located, file: VersionFile) -> bool:
        """Whether the bytes at a place are the file's."""
        read = await self.blobs.hash(place, expected_size=file.size)
        return (read.sha256, read.size) == (file.sha256, file.size)

    async def _hash(self, place: Location, size: int) -> Read:
        return await self.blobs.hash(place, expected_size=size)

    async def _is_there(self, place: Location) -> bool:
        try:
            await self.blobs.stat(place.bucket, place.key, place.version_id)
        except NotFound:
            return False
        return True


async def each(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in order, a few of them worked for at a time."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(step: Coroutine[Any, Any, T]) -> T:
        async with slots:
            return await step

    return await asyncio.gather(*(one(step) for step in work))


def place_of(file: VersionFile) -> Location:
    """Where a file's bytes lie."""
    return Location(file.location.bucket, file.location.key, file.location.version_id)


def unreadable(sha256: str, size: int, reads: int, error: Exception) -> Damage:
    """The damage of a version of an object that the store gives no bytes of, after so many reads."""
    actual = f"none: the store failed {reads} reads in a row and gives other objects; {error}"
    return Damage("bytes_unreadable", f"sha256:{sha256}, {size} B", actual[:1900])


def missing(file: VersionFile) -> Rejected:
    """The store has nothing under the file's version-id."""
    return Rejected(
        "bytes_missing",
        f"{file.path} is not in the store any more",
        expected=str(place_of(file)),
        actual="nothing",
        hint=_HINT,
    )
