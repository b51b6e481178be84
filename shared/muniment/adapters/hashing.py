"""Reading a version to its end, and reading around in it: the same for every store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from muniment.ports.blobs import EDGE, MAX_RANGE, BlobReader, Edges, HashResult, Progress, StoreUnavailable

CHUNK = 1024 * 1024


def hash_reader(reader: BlobReader, progress: Progress | None = None) -> HashResult:
    """SHA-256, size and edges of all that the reader gives. Memory: one chunk and the edges."""
    digest = hashlib.sha256()
    size = 0
    head = tail = b""
    for chunk in reader.read_chunks(CHUNK):
        digest.update(chunk)
        size += len(chunk)
        if len(head) < EDGE:
            head += chunk[: EDGE - len(head)]
        tail = chunk[-EDGE:] if len(chunk) >= EDGE else (tail + chunk)[-EDGE:]
        if progress is not None:
            progress(len(chunk))
    return HashResult(digest.hexdigest(), size, Edges(head, tail))


def hash_bytes(data: bytes, progress: Progress | None = None) -> HashResult:
    """The same of bytes in memory."""
    if progress is not None:
        progress(len(data))
    return HashResult(hashlib.sha256(data).hexdigest(), len(data), Edges(data[:EDGE], data[-EDGE:]))


def check_range(offset: int, length: int) -> None:
    """Raises `ValueError` for a range that no caller should ask for."""
    if offset < 0 or not 0 <= length <= MAX_RANGE:
        raise ValueError(f"a range needs offset >= 0 and 0 <= length <= {MAX_RANGE}, not {offset} and {length}")


class EdgeReader:
    """A `RandomReader` that keeps the first and last `EDGE` bytes: headers and trailers cost one request each.

    `fetch(offset, length)` gives bytes of the version, fewer only at its end.
    """

    def __init__(self, size: int, fetch: Callable[[int, int], bytes], edges: Edges | None = None) -> None:
        self._size = size
        self._fetch = fetch
        self._head = None if edges is None else edges.head
        self._tail = None if edges is None else edges.tail

    @property
    def size(self) -> int:
        """Bytes of the whole version."""
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`, fewer only where the object ends."""
        check_range(offset, length)
        end = min(offset + length, self._size)
        if end <= offset:
            return b""
        if end <= EDGE:
            if self._head is None:
                self._head = self._exactly(0, min(EDGE, self._size))
            return self._head[offset:end]
        start = max(self._size - EDGE, 0)
        if offset >= start:
            if self._tail is None:
                self._tail = self._exactly(start, self._size - start)
            return self._tail[offset - start : end - start]
        return self._exactly(offset, end - offset)

    def _exactly(self, offset: int, length: int) -> bytes:
        data = self._fetch(offset, length)
        if len(data) != length:
            raise StoreUnavailable(
                "store_inconsistent",
                "the store gave another number of bytes than it stated before",
                expected=f"{length} bytes from {offset}",
                actual=f"{len(data)} bytes",
            )
        return data
