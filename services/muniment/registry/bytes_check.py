"""Reading committed bytes again, every one, before something new leads to them: a rollback, a release."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from muniment.contracts.errors import NotFound, Rejected
from muniment.contracts.events import VersionFile
from muniment.ports.blobs import BlobStore, Located, Location

T = TypeVar("T")

_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class CommittedBytes:
    """Reads by version-id and compares the digests. A store that does not answer says nothing of the bytes: its
    `Transient` is raised.
    """

    blobs: BlobStore

    async def check(self, files: Sequence[VersionFile]) -> None:
        """Read every byte that the files refer to. Raises `Rejected` (`bytes_damaged`, `bytes_missing`)."""
        await each([self.check_file(file) for file in {place_of(file): file for file in files}.values()])

    async def check_file(self, file: VersionFile) -> None:
        """Read one file. Raises as `check`."""
        place = place_of(file)
        try:
            # Read twice before it is called damage: the first time it may have been the way.
            if await self.is_right(place, file) or await self.is_right(place, file):
                return
        except NotFound as error:
            raise missing(file) from error
        raise Rejected(
            "bytes_damaged",
            f"{file.path} is not what was committed",
            expected=f"sha256:{file.sha256}, {file.size} B",
            actual="other bytes",
            hint="put bytes with the same digest back, or choose another version",
        )

    async def is_right(self, place: Located, file: VersionFile) -> bool:
        """Whether the bytes at a place are the file's."""
        read = await self.blobs.hash(place, expected_size=file.size)
        return (read.sha256, read.size) == (file.sha256, file.size)


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


def missing(file: VersionFile) -> Rejected:
    """The store has nothing under the file's version-id."""
    return Rejected(
        "bytes_missing",
        f"{file.path} is not in the store any more",
        expected=str(place_of(file)),
        actual="nothing",
        hint="put bytes with the same digest back, or choose another version",
    )
