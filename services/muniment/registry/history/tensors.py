"""The digest of every tensor in a safetensors file, in one pass over its bytes; kept, so that each file is read once.

Format: https://github.com/huggingface/safetensors: 8 bytes little-endian length, a JSON header, the tensors' bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import structlog

from muniment.contracts import strict_json
from muniment.contracts.canonical import canonical_json
from muniment.contracts.errors import MunimentError, Rejected, TooLarge
from muniment.ports.blobs import BlobStore, Location
from muniment.registry.history.fields import Section
from muniment.registry.history.loading import HISTORY

log = structlog.get_logger(__name__)

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
        rows, known = await self._known(model_id, numbers)
        unknown = [row for row in _each_once(rows) if row["sha256"] not in known]
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
        return {number: _section(held) for number, held in _by_number(rows, known).items()}, allowed - size

    async def readable(self, model_id: int, numbers: Sequence[int], allowed: int) -> tuple[dict[int, Section], int]:
        """As `of`, for every version whose files may all be read; those of no safetensors file have no tensors.

        The first numbers come first. What is too large, gone or damaged is left out; once the store does not answer
        nothing more is read (what is left is 0 then).
        """
        rows, known = await self._known(model_id, numbers)
        place = {number: at for at, number in enumerate(numbers)}
        for row in _each_once(sorted(rows, key=lambda row: place[row["number"]])):
            if row["sha256"] in known or row["size"] > allowed:
                continue
            try:
                known[row["sha256"]] = await self._read(row)
                allowed -= row["size"]
            except Rejected as error:
                log.info("tensors-not-read", sha256=row["sha256"], code=error.code)
            except MunimentError as error:
                log.warning("tensors-not-read", sha256=row["sha256"], code=error.code)
                allowed = 0
        unread = {row["number"] for row in rows if row["sha256"] not in known}
        held = _by_number([row for row in rows if row["number"] not in unread], known)
        return {number: _section(held.get(number, {})) for number in numbers if number not in unread}, allowed

    async def _known(
        self, model_id: int, numbers: Collection[int]
    ) -> tuple[Sequence[asyncpg.Record], dict[str, dict[str, bytes]]]:
        rows = await self.pool.fetch(HISTORY["safetensors_files"], model_id, list(numbers))
        known: dict[str, dict[str, bytes]] = {}
        for row in await self.pool.fetch(HISTORY["known_tensors"], list({row["sha256"] for row in rows})):
            known.setdefault(row["sha256"], {})[row["name"]] = row["digest"]
        return rows, known

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


def _each_once(rows: Iterable[asyncpg.Record]) -> list[asyncpg.Record]:
    return list({row["sha256"]: row for row in reversed(list(rows))}.values())[::-1]


def _by_number(
    rows: Iterable[asyncpg.Record], known: Mapping[str, Mapping[str, bytes]]
) -> dict[int, dict[str, Mapping[str, bytes]]]:
    files: dict[int, dict[str, Mapping[str, bytes]]] = {}
    for row in rows:
        files.setdefault(row["number"], {})[row["path"]] = known[row["sha256"]]
    return files


def _section(files: Mapping[str, Mapping[str, bytes]]) -> Section:
    times = Counter(name for tensors in files.values() for name in tensors)
    return {
        f"{path}:{name}" if times[name] > 1 else name: f"sha256:{digest.hex()}"
        for path, tensors in files.items()
        for name, digest in tensors.items()
    }
