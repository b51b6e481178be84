"""Record batches as strangers write them, read without harm: whatever a batch holds, the position gets past it.

aiokafka 0.14 is stopped for ever by a batch that its broker has accepted: it raises while it unpacks a header's name
that is no UTF-8, and for a codec whose library is missing. And it unpacks without a limit: brokers bound a batch as it
travels, so 1.5 MB of gzip become 1.5 GB of memory. Brokers check neither, and recompressing there costs them the same
memory. So here, for all consumers of a process (`install`):

- what cannot be read becomes one record with the batch's raw bytes and the header `UNREADABLE`, at the batch's last
  offset: whoever takes it can set it aside;
- gzip is unpacked up to `MAX_UNPACKED` a batch, and a fetch ends early where its batches together unpack to more;
- bytes of a header's name that are no UTF-8 become U+FFFD, as in Java's client.

Layout: Kafka protocol guide, "Record Batch" (magic 2).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import aiokafka.consumer.fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

UNREADABLE: Final = "muniment-unreadable"
"""The header of a record that stands for a whole batch; its value is the code of the reason, one of `REASONS`."""
REASONS: Final = {
    "batch_too_large": "the batch unpacks to more than is taken",
    "batch_codec": "the batch is compressed with a codec that is not read here; gzip is, and none",
    "batch_malformed": "the batch cannot be unpacked",
}
MAX_UNPACKED: Final = 8 * 1024 * 1024
"""Bytes that a compressed batch may unpack to: four records of the largest size that a topic takes."""

_PREFIX: Final = struct.Struct(">qi")  # base offset, length of what follows
_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_MAGIC: Final = 16
_ATTRIBUTES: Final = 21
_CODEC: Final = 0x07
_GZIP: Final = 1


@dataclass(frozen=True, slots=True)
class Read:
    """A record as aiokafka's consumer takes one from a batch."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


class Batches:
    """The batches of one partition in one fetch, in place of aiokafka's `MemoryRecords`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._inner = MemoryRecords(data)
        self._start = 0
        self._unpacked = 0

    def size_in_bytes(self) -> int:
        """Bytes of the fetch."""
        return int(self._inner.size_in_bytes())

    def has_next(self) -> bool:
        """Whether to go on. What is left when too much was unpacked already is fetched again."""
        return self._unpacked <= MAX_UNPACKED and bool(self._inner.has_next())

    def next_batch(self) -> Any:
        """The next batch."""
        start = self._start
        self._start += _PREFIX.size + _PREFIX.unpack_from(self._data, start)[1]
        inner = self._inner.next_batch()
        if self._data[start + _MAGIC] < 2:  # before headers and producer ids; brokers write none since Kafka 4
            return inner
        batch = Batch(inner, self._data[start : self._start])
        self._unpacked += batch.unpacked
        return batch


class Batch:
    """One batch. What the fetcher asks about it is answered by aiokafka's own, and read from it where it can be."""

    def __init__(self, inner: Any, raw: bytes) -> None:
        self._inner = inner
        self._raw = raw
        self._plain, self._reason = _unpacked(raw)

    @property
    def unpacked(self) -> int:
        """Bytes that it was unpacked to; 0 if it was not packed."""
        return 0 if self._plain is self._raw else len(self._plain)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __next__(self) -> Any:
        return next(self._inner)

    def __iter__(self) -> Iterator[Any]:
        if self._reason is not None:
            yield self._as_a_whole(self._reason)
            return
        read = 0
        try:
            for record in self._inner if self._plain is self._raw else DefaultRecordBatch(self._plain):
                yield record
                read += 1
        except (UnicodeDecodeError, CorruptRecordException):
            yield from self._again(read)

    def _again(self, read: int) -> Iterator[Read]:
        """The records after the first `read` ones, by a reader that takes any bytes for a header's name."""
        try:
            records = list(_records(self._plain))
        except (ValueError, IndexError):
            yield self._as_a_whole("batch_malformed")
        else:
            yield from records[read:]

    def _as_a_whole(self, reason: str) -> Read:
        return Read(
            offset=self._inner.next_offset - 1,
            timestamp=self._inner.max_timestamp,
            timestamp_type=self._inner.timestamp_type,
            key=None,
            value=self._raw,
            headers=[(UNREADABLE, reason.encode())],
        )


def install() -> None:
    """Let every consumer of this process read batches so. Doing it again changes nothing."""
    aiokafka.consumer.fetcher.MemoryRecords = Batches


def _unpacked(raw: bytes) -> tuple[bytes, str | None]:
    """The batch without compression; or as it is, with the reason why it cannot be read."""
    header = list(_HEADER.unpack_from(raw))
    codec = header[5] & _CODEC
    if codec == 0:
        return raw, None
    if codec != _GZIP:
        return raw, "batch_codec"
    inflate = zlib.decompressobj(wbits=31)
    try:
        records = inflate.decompress(raw[_HEADER.size :], MAX_UNPACKED + 1)
    except zlib.error:
        return raw, "batch_malformed"
    if len(records) > MAX_UNPACKED:
        return raw, "batch_too_large"
    header[5] &= ~_CODEC
    return _HEADER.pack(*header) + records, None


def _records(plain: bytes) -> Iterator[Read]:
    """The records of an uncompressed batch. Raises `ValueError` or `IndexError` where it is malformed."""
    base, _, _, _, _, attributes, _, first_ms, max_ms, _, _, _, count = _HEADER.unpack_from(plain)
    appended = (attributes >> 3) & 1
    data = bytearray(plain)
    at = _HEADER.size

    def number() -> int:
        nonlocal at
        value, at = decode_varint(data, at)
        return int(value)

    def some() -> bytes | None:
        nonlocal at
        if (length := number()) < 0:
            return None
        if at + length > len(data):
            raise ValueError("a field ends behind its batch")
        at += length
        return bytes(data[at - length : at])

    for _ in range(count):
        number()  # the record's length
        at += 1  # its attributes, none of which is used
        timestamp, offset = first_ms + number(), base + number()
        key, value = some(), some()
        headers = [((some() or b"").decode("utf-8", "replace"), some()) for _ in range(number())]
        yield Read(offset, max_ms if appended else timestamp, appended, key, value, headers)
    if at != len(data):
        raise ValueError("bytes follow the last record")
