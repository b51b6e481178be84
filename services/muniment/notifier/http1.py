"""The little of HTTP/1.1 (RFC 9112) that a POST to a receiver needs: a connection, and reading one answer from it.

Strict where an answer decides what happens next, and small: no redirects, cookies, decompression or upgrades. A
connection is kept only when its answer was read to the end and nothing came after it; whatever is in doubt is closed.
Deadlines are the caller's. This knows nothing of addresses: whoever opens the connection does.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, cast

_HELD: Final = 128 * 1024
"""Bytes that wait unread in one connection; then the receiver has to wait."""
_LINE: Final = 16 * 1024
_HEADERS: Final = 200
_INTERIM: Final = 8
"""Interim answers (1xx) that are passed over."""
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n]*)?")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}):[ \t]*([^\x00\r\n]*)")
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")


class Malformed(Exception):
    """The answer is not HTTP/1.1. Its text names the cause, never what came."""


class Cut(OSError):
    """The connection ended before the answer did."""


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers (lower-case names; of a repeated one the last), and how the body ends."""

    status: int
    headers: Mapping[str, str]
    length: int | None
    """Bytes of the body; None: it ends with the connection, or is chunked."""
    chunked: bool
    keeps: bool
    """The receiver keeps the connection open after the body."""


class Connection(asyncio.Protocol):
    """One open connection. Bounded: what is not read in time makes the receiver wait."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._ended = False
        self._error: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._full: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def idle(self) -> bool:
        """Whether another request may go out on it: open, and with nothing that came unasked."""
        return not (self._ended or self._held or self._transport is None or self._transport.is_closing())

    def close(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    async def write(self, data: bytes) -> None:
        """Send it. Raises `OSError`."""
        if self._transport is None or self._ended:
            raise self._error or Cut("the connection was closed")
        self._transport.write(data)
        if self._full is not None:
            await self._full

    async def head(self) -> Head:
        """The next answer's head, interim ones passed over. Raises `Malformed`, `OSError`."""
        for _ in range(_INTERIM):
            found = _STATUS.fullmatch(await self._line())
            if found is None:
                raise Malformed("the status line cannot be read")
            status = int(found[2])
            headers = await self._headers()
            if status >= 200:
                return _head(status, headers, newer=found[1] == b"1")
            if status == 101:
                raise Malformed("it changes the protocol, which nobody asked for")
        raise Malformed("there are too many interim answers")

    async def body(self, head: Head, into: bytearray, limit: int) -> bool:
        """Read the body into `into`, `limit` bytes at most; whether it ended, and the connection can be used again.

        Raises `Malformed`, `OSError`; what had come by then is in `into`.
        """
        if head.chunked:
            return await self._chunks(into, limit) and head.keeps
        left = limit + 1 if head.length is None else head.length
        while left and len(into) < limit:
            if not self._held and not await self._more():
                if head.length is None:
                    return False
                raise self._error or Cut("the body was cut off")
            left -= self._take(into, min(left, limit - len(into)))
        return left == 0 and head.keeps

    async def _chunks(self, into: bytearray, limit: int) -> bool:
        while True:
            found = _SIZE.fullmatch(await self._line())
            if found is None:
                raise Malformed("a chunk's size cannot be read")
            left = int(found[1], 16)
            if left == 0:
                await self._headers()  # trailers
                return True
            while left:
                if len(into) >= limit:
                    return False
                if not self._held and not await self._more():
                    raise self._error or Cut("the body was cut off")
                left -= self._take(into, min(left, limit - len(into)))
            if await self._line():
                raise Malformed("a chunk is longer than its size")

    async def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for _ in range(_HEADERS):
            line = await self._line()
            if not line:
                return headers
            found = _FIELD.fullmatch(line)
            if found is None:
                raise Malformed("a header cannot be read")
            name, value = found[1].decode("ascii").lower(), found[2].rstrip(b" \t").decode("latin-1")
            if name == "content-length" and headers.get(name, value) != value:
                raise Malformed("there are two lengths")
            if name == "transfer-encoding" and name in headers:
                raise Malformed("there are two transfer encodings")
            headers[name] = value
        raise Malformed("there are too many headers")

    async def _line(self) -> bytes:
        """Up to a line feed, without it and the carriage return before it."""
        searched = 0
        while (end := self._held.find(b"\n", searched, _LINE)) < 0:
            if len(self._held) >= _LINE:
                raise Malformed("a line is too long")
            searched = len(self._held)
            if not await self._more():
                raise self._error or Cut("the connection ended before the answer did")
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return line.removesuffix(b"\r")

    def _take(self, into: bytearray, count: int) -> int:
        piece = self._held[:count]
        del self._held[:count]
        into += piece
        return len(piece)

    async def _more(self) -> bool:
        """Wait for bytes; False at the end."""
        if self._ended or self._transport is None:
            return False
        self._transport.resume_reading()
        self._waiting = asyncio.get_running_loop().create_future()
        before = len(self._held)
        try:
            await self._waiting
        finally:
            self._waiting = None
        return len(self._held) > before

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._held += data
        if len(self._held) >= _HELD and self._transport is not None:
            self._transport.pause_reading()
        self._wake(self._waiting)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._ended, self._error = True, exc
        for waiting in (self._waiting, self._full):
            self._wake(waiting)

    def pause_writing(self) -> None:
        """The receiver takes no more for now."""
        self._full = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """It does again."""
        full, self._full = self._full, None
        self._wake(full)

    def _wake(self, waiting: asyncio.Future[None] | None) -> None:
        if waiting is not None and not waiting.done():
            waiting.set_result(None)


def request_bytes(path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A POST as it goes out. Raises `ValueError` where a header could be read as more than itself."""
    lines = [f"POST {path} HTTP/1.1"]
    for name, value in headers.items():
        if not _FIELD.fullmatch(f"{name}: {value}".encode("latin-1")):
            raise ValueError(f"the header {name!r} cannot be sent")
        lines.append(f"{name}: {value}")
    if not path.startswith("/") or not re.fullmatch(r"[!-~]+", path):
        raise ValueError("the path cannot be sent")
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body


def _head(status: int, headers: dict[str, str], *, newer: bool) -> Head:
    encoding, given = headers.get("transfer-encoding"), headers.get("content-length")
    if encoding is not None and encoding.lower() != "chunked":
        raise Malformed("the transfer encoding is not chunked")
    length = None
    if encoding is None and given is not None:
        if not (given.isascii() and given.isdigit() and len(given) <= 15):
            raise Malformed("the length cannot be read")
        length = int(given)
    if status in (204, 304):
        length, encoding = 0, None
    words = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    keeps = newer and "close" not in words and not (encoding and given)
    return Head(status, MappingProxyType(headers), length, encoding is not None, keeps)
