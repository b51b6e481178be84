"""A large version read as ranges side by side: a store gives several streams faster than one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Final

LARGE: Final = 64 * 1024 * 1024
"""Bytes from which a version is read so."""
RANGE: Final = 2 * 1024 * 1024
LANES: Final = 3
"""Ranges under way at once. With the one being hashed that is 8 MiB of memory."""


class RangedReader:
    """The bytes of a version in order, while the ranges behind are on their way. A `BlobReader`.

    `fetch(offset, length)` gives exactly those bytes, in pieces, or raises; the first error ends the reading. `lanes`
    are threads that stay: an allocator keeps memory for every thread it has seen, so new ones for each file add up.
    """

    def __init__(self, size: int, fetch: Callable[[int, int], list[bytes]], lanes: Executor) -> None:
        self.size = size
        self._fetch = fetch
        self._lanes = lanes

    def read_chunks(self, chunk_size: int = RANGE) -> Iterator[bytes]:
        """All bytes, in the pieces in which they came."""
        offsets = iter(range(0, self.size, RANGE))
        under_way: deque[Future[list[bytes]]] = deque()

        def ask() -> None:
            for offset in offsets:
                under_way.append(self._lanes.submit(self._fetch, offset, min(RANGE, self.size - offset)))
                return

        try:
            for _ in range(LANES):
                ask()
            while under_way:
                pieces = under_way.popleft().result()
                ask()
                yield from pieces
        finally:
            for future in under_way:
                future.cancel()
