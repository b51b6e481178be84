"""Streams within a file, read forwards: stored or deflated zip members, compressed files.

Decompression makes at most as many bytes at a time as are asked for, and counts them against the source's limit.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Final, Protocol

from muniment.checksum_validator.formats.source import CHUNK_BYTES, Cursor, Source
from muniment.checksum_validator.formats.spec import FormatError

_INPUT: Final = 64 * 1024
_LZMA_MEMORY: Final = 32 * 1024 * 1024


class Decoder(Protocol):
    """What the standard library's decompressors have in common."""

    @property
    def eof(self) -> bool:
        """Whether the end of the compressed stream was reached."""

    @property
    def needs_input(self) -> bool:
        """Whether more input is needed before more output comes."""

    @property
    def unused_data(self) -> bytes:
        """Input behind the end of the stream."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most `max_length` bytes of output."""


class _Zlib:
    """zlib's decompressor with the interface of bz2's and lzma's."""

    def __init__(self, window_bits: int) -> None:
        self._inner = zlib.decompressobj(window_bits)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


DECODERS: Final[dict[str, Callable[[], Decoder]]] = {
    "deflate": lambda: _Zlib(-zlib.MAX_WBITS),
    "zlib": lambda: _Zlib(zlib.MAX_WBITS),
    "gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY),
    "lzma": lambda: lzma.LZMADecompressor(format=lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY),
}


class Forward:
    """A stream from `start` to `end` of a source, decoded, as a source that only moves forwards.

    With `several` the stream may be followed by others, which are read on as loaders do. Raises `FormatError`
    (`decompression_failed`, `inflated_too_much`).
    """

    __slots__ = ("_cursor", "_decoder", "_make", "_several", "_source", "crc", "position")

    def __init__(self, source: Source, start: int, end: int, *, encoding: str = "", several: bool = False) -> None:
        self._source = source
        self._cursor = Cursor(source, start, end)
        self._make = DECODERS[encoding] if encoding else None
        self._decoder = self._make() if self._make else None
        self._several = several
        self.position = 0
        self.crc = 0

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`, which is never before what was read already."""
        while self.position < offset:
            if not self._more(min(offset - self.position, CHUNK_BYTES)):
                return b""
        parts = []
        while length and (part := self._more(min(length, CHUNK_BYTES))):
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def drain(self) -> None:
        """Read to the end: `position` is then the stream's size, and `crc` its checksum."""
        while self._more(CHUNK_BYTES):
            pass

    def _more(self, limit: int) -> bytes:
        if self._decoder is None:
            part = self._cursor.take(min(limit, self._cursor.remaining))
        else:
            part = self._decode(limit)
            self._source.inflate(len(part))
        self.position += len(part)
        self.crc = zlib.crc32(part, self.crc)
        return part

    def _decode(self, limit: int) -> bytes:
        data = b""
        while self._decoder is not None and self._make is not None:
            if self._decoder.eof:
                data = self._decoder.unused_data
                if not data and not self._cursor.remaining:
                    return b""
                if not self._several:
                    raise FormatError("decompression_failed", "bytes follow the compressed data of a member")
                self._decoder = self._make()
            elif self._decoder.needs_input:
                data = self._cursor.take(min(_INPUT, self._cursor.remaining))
            try:
                part = self._decoder.decompress(data, limit)
            except (zlib.error, OSError, lzma.LZMAError, EOFError) as error:
                if "emory" in str(error):
                    raise FormatError(
                        "decompression_memory",
                        "decompressing takes too much memory",
                        expected=f"<= {_LZMA_MEMORY} B",
                        hint="compress with a lower preset, or not at all",
                    ) from error
                raise FormatError("decompression_failed", f"the compressed data is damaged: {error}") from error
            if part:
                return part
            if not data and not self._cursor.remaining and not self._decoder.eof:
                raise FormatError("truncated", "the compressed data ends too early")
            data = b""
        return b""
