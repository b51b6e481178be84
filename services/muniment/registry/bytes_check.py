"""Reading a committed version's bytes again, every one, before something leads to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from muniment.contracts.errors import NotFound, Rejected
from muniment.ports.blobs import BlobStore, Location
from muniment.registry.store import SQL

_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class ByteCheck:
    """Reads by version-id and compares the digests."""

    pool: asyncpg.Pool[Any]
    blobs: BlobStore

    async def trouble(self, model_id: int, number: int) -> Rejected | None:
        """`Rejected` (`bytes_damaged`, `bytes_missing`) for the first file, by path, that is not as it was committed.

        A store that does not answer is `Transient`, and raised: it says nothing of the bytes.
        """
        files = await self.pool.fetch(SQL["files"], model_id, number)
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(file: asyncpg.Record) -> Rejected | None:
            async with slots:
                return await self._trouble(file)

        found = await asyncio.gather(*(one(file) for file in files))
        return next((trouble for trouble in found if trouble is not None), None)

    async def _trouble(self, file: asyncpg.Record) -> Rejected | None:
        place = Location(file["bucket"], file["key"], file["version_id"])
        try:
            read = await self.blobs.hash(place, expected_size=file["size"])
        except NotFound:
            return Rejected(
                "bytes_missing",
                f"{file['path']} is not in the store any more",
                expected=f"{place.key} version {place.version_id}",
                actual="nothing",
                hint="put bytes with the same digest back, or choose another version",
            )
        if (read.sha256, read.size) == (file["sha256"], file["size"]):
            return None
        return Rejected(
            "bytes_damaged",
            f"{file['path']} is not what was committed",
            expected=f"sha256:{file['sha256']}, {file['size']} B",
            actual=f"sha256:{read.sha256}, {read.size} B",
            hint="put bytes with the same digest back, or choose another version",
        )
