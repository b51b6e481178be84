"""Bytes on demand, metered: a file behind a budget, and a cursor that moves forward through it.

No length from a file is ever allocated: a request beyond the end is refused before it is made, and what is asked for
at once is bounded by `CHUNK_BYTES`.
"""

from __future__ import annotations

from typing import Final, Protocol

from muniment.checksum_validator.formats.spec import HEAD_BYTES, TAIL_BYTES, FormatError, Limits, RandomReader

CHUNK_BYTES: Final = 1024 * 1024
_FIRST_CHUNK: Final = 8 * 1024
_MAX_LINE: Final = 32 * 1024 * 1024


class ByteSource(Protocol):
    """Where a cursor gets its bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`, fewer only at the end. Raises `FormatError`."""


class Source:
    """One file under inspection: its head and tail in memory, everything else read within the limits.

    Raises `FormatError` (`inspection_budget`) once the limits are spent, and `OSError` when the reader answers with
    another number of bytes than the file has there: that is the store's fault, never the file's.
    """

    __slots__ = ("_budget", "_inflated", "_limits", "_reader", "_reads", "broken", "head", "size", "tail", "tail_start")

    def __init__(self, reader: RandomReader, limits: Limits) -> None:
        self._reader = reader
        self._limits = limits
        self._budget = limits.read_bytes
        self._reads = limits.reads
        self._inflated = limits.inflated_bytes
        self.size = reader.size
        self.broken = False
        self.head = b""
        self.tail = b""
        self.tail_start = self.size
        self.head = self._fetch(0, min(HEAD_BYTES, self.size))
        self.tail_start = max(0, self.size - TAIL_BYTES)
        if self.tail_start < len(self.head):
            self.tail = self.head[self.tail_start :] + self._fetch(len(self.head), self.size - len(self.head))
        else:
            self.tail = self._fetch(self.tail_start, self.size - self.tail_start)

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`, fewer only at the end of the file."""
        end = min(offset + length, self.size)
        if end <= len(self.head):
            return self.head[offset:end]
        if offset >= self.tail_start:
            return self.tail[offset - self.tail_start : end - self.tail_start]
        if offset < len(self.head):
            return self.head[offset:] + self._fetch(len(self.head), end - len(self.head))
        return self._fetch(offset, end - offset)

    def inflate(self, count: int) -> None:
        """Count decompressed bytes against the limit, over all streams of the file."""
        self._inflated -= count
        if self._inflated < 0:
            raise FormatError(
                "inflated_too_much",
                "looking into the file takes too much decompression",
                expected=f"<= {self._limits.inflated_bytes} B",
                hint="save the model uncompressed",
            )

    def _fetch(self, offset: int, length: int) -> bytes:
        if length <= 0:
            return b""
        self._reads -= 1
        self._budget -= length
        if self._reads < 0 or self._budget < 0:
            raise FormatError(
                "inspection_budget",
                "the file's structure takes too much reading",
                expected=f"<= {self._limits.read_bytes} B in <= {self._limits.reads} reads",
                hint="save the model uncompressed, or in fewer and larger tensors",
            )
        self.broken = True  # until the reader has answered: an exception of its own must not look like the file's
        data = self._reader.read(offset, length)
        if len(data) != length:
            raise OSError(f"short read at {offset}: expected {length} B of {self.size} B, got {len(data)} B")
        self.broken = False
        return data


class Slice:
    """Bytes already in memory, as a source."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`."""
        return self._data[offset : offset + length]


class Cursor:
    """Reads a source forwards, from `start` to `end`, in chunks that grow while reading is sequential.

    Every method that needs more bytes than there are raises `FormatError` (`truncated`).
    """

    __slots__ = ("_at", "_base", "_chunk", "_data", "_source", "end")

    def __init__(self, source: ByteSource, start: int, end: int) -> None:
        self._source = source
        self._base = start
        self._data = b""
        self._at = 0
        self._chunk = _FIRST_CHUNK
        self.end = end

    @property
    def position(self) -> int:
        """The offset of the next byte."""
        return self._base + self._at

    @property
    def remaining(self) -> int:
        """Bytes up to the end."""
        return self.end - self._base - self._at

    def window(self, length: int) -> tuple[bytes, int]:
        """The buffer and the index of the next byte in it: at least `length` bytes are there, or all that are left."""
        have = len(self._data)
        if have - self._at < length and self._base + have < self.end:
            self._fill(length)
        return self._data, self._at

    def take(self, length: int) -> bytes:
        """The next `length` bytes, at most `CHUNK_BYTES`."""
        at = self._at
        if len(self._data) - at < length:
            if length > self.remaining or length > CHUNK_BYTES:
                raise self._short(length)
            self._fill(length)
            at = self._at
            if len(self._data) - at < length:
                raise self._short(length)
        self._at = at + length
        return self._data[at : at + length]

    def byte(self) -> int:
        """The next byte as a number."""
        if self._at >= len(self._data):
            self._fill(1)
            if self._at >= len(self._data):
                raise self._short(1)
        value = self._data[self._at]
        self._at += 1
        return value

    def unsigned(self, length: int) -> int:
        """The next `length` bytes as a little-endian number."""
        return int.from_bytes(self.take(length), "little")

    def line(self, keep: int) -> bytes:
        """The bytes up to the next line feed, which is passed over; `keep + 1` of them at most (`keep` below 512)."""
        first: bytes | None = None
        passed = 0
        while True:
            data, at = self.window(512 if first is None else CHUNK_BYTES)
            feed = data.find(b"\n", at)
            stop = feed if feed >= 0 else len(data)
            first = data[at : min(stop, at + keep + 1)] if first is None else first
            passed += stop - at
            if feed >= 0:
                self._at = feed + 1
                return first
            if stop == at:
                raise self._short(1)
            if passed > _MAX_LINE:
                raise FormatError("line_too_long", "a line does not end", expected=f"<= {_MAX_LINE} B")
            self._at = stop

    def skip(self, length: int) -> None:
        """Pass over `length` bytes without reading them where the source allows it."""
        if length > self.remaining:
            raise self._short(length)
        self._at += length
        beyond = self._at - len(self._data)
        if beyond > 0:
            self._base += self._at
            self._at = 0
            self._data = b""
            if beyond > self._chunk:
                self._chunk = _FIRST_CHUNK

    def _fill(self, length: int) -> None:
        kept = self._data[self._at :]
        self._base += self._at
        self._at = 0
        want = min(max(length - len(kept), self._chunk), self.end - self._base - len(kept))
        self._chunk = min(self._chunk * 4, CHUNK_BYTES)
        more = self._source.read(self._base + len(kept), want) if want > 0 else b""
        if len(more) < want:
            self.end = self._base + len(kept) + len(more)
        self._data = kept + more

    def _short(self, length: int) -> FormatError:
        return FormatError(
            "truncated",
            f"the file ends inside a value at byte {self.position}",
            expected=f"{length} B",
            actual=f"{self.remaining} B",
        )
