"""Reading a version of an object slowly, in ranges: bounded memory, and no faster than a pace."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from muniment.contracts.errors import Transient
from muniment.ports.blobs import QUICK, BlobStore, Location
from muniment.registry.bytes_check import Read
from muniment.runtime.stop_point import reached

RANGE: Final = 4 * 1024**2
"""Bytes that are asked for at once, which is also the most memory an object takes."""


@dataclass(frozen=True, slots=True)
class _Whole:
    sha256: str
    size: int


@dataclass(slots=True)
class Pace:
    """Bytes per second of all reads of one process together."""

    rate: float
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _free_at: float = field(default=0.0)

    async def take(self, count: int) -> None:
        """Wait until so many bytes may be read. Each caller has its place in the line."""
        now = asyncio.get_running_loop().time()
        start = max(now, self._free_at)
        self._free_at = start + count / self.rate
        if start > now:
            await self.sleep(start - now)


@dataclass(frozen=True, slots=True)
class PacedReader:
    """Reads by version-id."""

    blobs: BlobStore
    pace: Pace

    async def read(self, place: Location, size: int, progress: Callable[[int], None]) -> Read:
        """Digest and size of every byte there is. `size` is what is expected, and decides nothing but the way.

        Raises `NotFound`, and `Transient` (`store_inconsistent`) where the store gives fewer bytes than it states.
        """
        if size <= QUICK:
            await self.pace.take(size)
            found = await self.blobs.hash(place, expected_size=size)
            progress(found.size)
            return found
        stated = (await self.blobs.stat(place.bucket, place.key, place.version_id)).size
        digest = hashlib.sha256()
        for offset in range(0, stated, RANGE):
            length = min(RANGE, stated - offset)
            await self.pace.take(length)
            data = await self.blobs.read_range(place, offset=offset, length=length)
            if len(data) != length:
                raise Transient(
                    "store_inconsistent",
                    f"the store gave another number of bytes of {place} than it stated",
                    expected=f"{length} bytes from {offset}",
                    actual=len(data),
                )
            await asyncio.to_thread(digest.update, data)
            progress(length)
            reached("registry.scrub-mid-file")
        return _Whole(digest.hexdigest(), stated)
