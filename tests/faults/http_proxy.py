"""An HTTP proxy before the object store that answers in its place, or changes what it answers.

    proxy.before = lambda request: refusal(503, "SlowDown") if request.method == "PUT" else None
    proxy.after = lambda request, answer: replace(answer, body=b"...")

A hook that does something names it in `proxy.fired`. Requests go on as they came, so their signatures hold.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

_END = b"\r\n\r\n"
_BODILESS = {204, 304}


@dataclass(frozen=True)
class Request:
    """One request. `raw` is all of it, `body` what follows the headers."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    raw: bytes

    @property
    def key(self) -> str:
        """The object's key, without the bucket; empty for requests to a bucket."""
        return unquote(urlsplit(self.target).path).lstrip("/").partition("/")[2]

    @property
    def query(self) -> dict[str, str]:
        """Its parameters."""
        return {
            name: values[0] for name, values in parse_qs(urlsplit(self.target).query, keep_blank_values=True).items()
        }


@dataclass(frozen=True)
class Answer:
    """One answer. `sent`: only so many bytes of the body are sent, and then the connection ends."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    sent: int | None = None


def refusal(status: int, code: str) -> Answer:
    """An error as S3 tells it."""
    body = f"<Error><Code>{code}</Code><Message>told by the proxy</Message></Error>".encode()
    return Answer(status, {"content-type": "application/xml", "content-length": str(len(body))}, body)


def _nothing(_: Request) -> Answer | None:
    return None


def _same(_: Request, answer: Answer) -> Answer:
    return answer


class HttpProxy:
    """Listens on a free loopback port."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self.before: Callable[[Request], Answer | None] = _nothing
        self.after: Callable[[Request, Answer], Answer] = _same
        self.fired: Counter[str] = Counter()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def heal(self) -> None:
        """Pass everything on, and forget what was counted."""
        self.before, self.after = _nothing, _same
        self.fired = Counter()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                request = await _request(reader)
                answer = self.before(request)
                if answer is None:
                    answer = self.after(request, await self._ask(request))
                body = b"" if request.method == "HEAD" else answer.body[: answer.sent]
                head = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
                writer.write(f"HTTP/1.1 {answer.status} Status\r\n{head}\r\n".encode("latin-1") + body)
                await writer.drain()
                if answer.sent is not None:
                    break
        writer.close()

    async def _ask(self, request: Request) -> Answer:
        reader, writer = await asyncio.open_connection(*self._target)
        try:
            writer.write(request.raw)
            first, headers, _ = await _head(reader)
            status = int(first.split()[1])
            while status == 100:
                first, headers, _ = await _head(reader)
                status = int(first.split()[1])
            if request.method == "HEAD" or status in _BODILESS:
                return Answer(status, headers)
            body = await _body(reader, headers)
            headers.pop("transfer-encoding", None)
            return Answer(status, {**headers, "content-length": str(len(body))}, body)
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader) -> Request:
    first, headers, head = await _head(reader)
    method, target, _ = first.split(" ")
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body, head + body)


async def _head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    raw = await reader.readuntil(_END)
    first, *lines = raw.decode("latin-1").strip().split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, {name.lower(): value.strip() for name, _, value in pairs}, raw


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body
