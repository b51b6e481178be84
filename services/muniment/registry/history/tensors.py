"""The digest of every tensor in a safetensors file, in one pass over its bytes; kept, so that each file is read once.

Format: https://github.com/huggingface/safetensors: 8 bytes little-endian length, a JSON header, the tensors' bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from muniment.contracts import strict_json
from muniment.contracts.canonical import canonical_json
from muniment.contracts.errors import Rejected, TooLarge
from muniment.ports.blobs import BlobStore, Location
from muniment.registry.history.fields import Section
from muniment.registry.history.loading import HISTORY

MAX_BYTES: Final = 4 * 1024**3
"""Bytes that one question reads of files whose tensors are not known yet."""
MAX_HEADER: Final = 16 * 1024 * 1024
_AT_ONCE: Final = 2


def digests(chunks: Iterator[bytes]) -> dict[str, bytes]:
    """SHA-256 of dtype, shape and bytes of each tensor, from the file's bytes in order. Holds the header and a chunk.

    Raises `Rejected` (`safetensors_invalid`): a version's files were checked when it was made, so the bytes changed.
    """
    stream = _Stream(chunks)
    length = int.from_bytes(stream.take(8), "little")
    if not 2 <= length <= MAX_HEADER:
        raise _invalid("the header's length", f"{length} B")
    header = strict_json.loads(stream.take(length), max_bytes=MAX_HEADER)
    if not isinstance(header, dict):
        raise _invalid("the header", type(header).__name__)
    header.pop("__metadata__", None)
    found: dict[str, bytes] = {}
    at = 0
    for name, tensor in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = tensor["data_offsets"]
        if begin != at or end < begin:
            raise _invalid("the tensors' places", f"{name[:80]} at {begin}")
        digest = hashlib.sha256(canonical_json([tensor["dtype"], tensor["shape"]]))
        for piece in stream.pieces(end - begin):
            digest.update(piece)
        found[name] = digest.digest()
        at = end
    return found


class _Stream:
    """Chunks, taken by length."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")

    def pieces(self, length: int) -> Iterator[memoryview]:
        """The next `length` bytes."""
        while length:
            if not self._left:
                chunk = next(self._chunks, None)
                if chunk is None:
                    raise _invalid("the file's end", f"{length} B are missing")
                self._left = memoryview(chunk)
            piece, self._left = self._left[:length], self._left[length:]
            length -= len(piece)
            yield piece

    def take(self, length: int) -> bytes:
        """The next `length` bytes in one."""
        return b"".join(self.pieces(length))


def _invalid(what: str, actual: str) -> Rejected:
    return Rejected("safetensors_invalid", f"{what} is not as safetensors has it", actual=actual)


@dataclass(frozen=True, slots=True)
class TensorDigests:
    """Digests of tensors for many versions."""

    pool: asyncpg.Pool[Any]
    blobs: BlobStore
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def of(self, model_id: int, numbers: Collection[int], allowed: int) -> tuple[dict[int, Section], int]:
        """The tensors of versions, `NAME` (`PATH:NAME` where several files have the name), and what is left of
        `allowed`: bytes that may be read of files not read before. Raises `TooLarge` (`tensors_too_large`).
        """
        rows = await self.pool.fetch(HISTORY["safetensors_files"], model_id, list(numbers))
        places = {row["sha256"]: row for row in rows}
        known: dict[str, dict[str, bytes]] = {}
        for row in await self.pool.fetch(HISTORY["known_tensors"], list(places)):
            known.setdefault(row["sha256"], {})[row["name"]] = row["digest"]
        unknown = [row for sha256, row in places.items() if sha256 not in known]
        size = sum(row["size"] for row in unknown)
        if size > allowed:
            raise TooLarge(
                "tensors_too_large",
                "the files whose tensors were never read are too large for one request",
                expected=f"<= {allowed:,} B",
                actual=f"{size:,} B in {len(unknown)} files",
                hint="ask about older versions first: what was read once is kept",
            )
        for row in unknown:
            known[row["sha256"]] = await self._read(row)
        files: dict[int, dict[str, Mapping[str, bytes]]] = {}
        for row in rows:
            files.setdefault(row["number"], {})[row["path"]] = known[row["sha256"]]
        return {number: _section(held) for number, held in files.items()}, allowed - size

    async def _read(self, row: asyncpg.Record) -> dict[str, bytes]:
        place = Location(row["bucket"], row["key"], row["version_id"])
        cancel = threading.Event()

        def read() -> dict[str, bytes]:
            with self.blobs.open(place, cancel=cancel) as reader:
                return digests(reader.read_chunks())

        async with self._turns:
            try:
                found = await asyncio.to_thread(read)
            except asyncio.CancelledError:
                cancel.set()
                raise
        await self.pool.execute(HISTORY["keep_tensors"], row["sha256"], list(found), list(found.values()))
        return found


def _section(files: Mapping[str, Mapping[str, bytes]]) -> Section:
    times = Counter(name for tensors in files.values() for name in tensors)
    return {
        f"{path}:{name}" if times[name] > 1 else name: f"sha256:{digest.hex()}"
        for path, tensors in files.items()
        for name, digest in tensors.items()
    }
