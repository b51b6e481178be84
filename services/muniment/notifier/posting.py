"""One POST over a connection of aiohttp's: the request is written here, its answer is read by aiohttp's parser.

aiohttp's session makes for each request what ours never need: cookies, redirects, traces, kinds of bodies, a task that
writes. That was a third of what a webhook cost the processor. Its connections are worth having, and its parser of what
strangers answer; so those stay (docs/decisions/webhook-http.md).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import aiohttp
from aiohttp.connector import Connection

from muniment.contracts.errors import Transient

RESPONSE_CAP: Final = 64 * 1024
_BODY_PATIENCE_S: Final = 1.0
"""How long the answer's body is read once the status is known: it is for people, and must not hold a slot."""
_MESSAGES: Final = 10
"""Of one answer: the final one, and interim ones (1xx) before it."""
_HEAD: Final = re.compile(r"POST [!-~]+ HTTP/1\.1\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [ -~]*\n)*")
"""A request line and header fields (RFC 9112 section 3, RFC 9110 section 5), all of visible ASCII and blanks."""


class Answer(NamedTuple):
    """What came back. `body` is cut at `RESPONSE_CAP`, `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    permanent: bool = False
    """A refusal for good: asking again would give the same."""


class Unfit(aiohttp.ClientConnectionError):
    """A kept connection was closed, or got bytes that nobody asked for. Nothing was sent on it."""


def request_bytes(path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A POST of HTTP/1.1 (RFC 9112) with the body's length. `path` is percent-encoded, its query included.

    Raises `ValueError` for what would be read as more than one header field, or as no request.
    """
    head = "".join([f"POST {path} HTTP/1.1\n", *(f"{name}: {value}\n" for name, value in headers.items())])
    if not _HEAD.fullmatch(head) or head.count("\n") != 1 + len(headers):
        raise ValueError("a header field or the path holds what HTTP does not allow there")
    return f"{head}Content-Length: {len(body)}\n\n".replace("\n", "\r\n").encode("ascii") + body


async def post(connection: Connection, request: bytes, *, keep: bool) -> Answer:
    """Send the request and return its answer. The connection is given back, or closed: if in doubt, always.

    Raises `Unfit` with nothing sent, and `Transient` (`answer_malformed`), `aiohttp.ClientError` and
    `aiohttp.http.HttpProcessingError`, after which the receiver may have it or not.
    """
    whole = False
    try:
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None:
            raise Unfit("the receiver has closed the connection")
        protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        if protocol.should_close:  # aiohttp asks when it puts one aside, not when it takes one up
            raise Unfit("the receiver sent what nobody asked for")
        transport.write(request)
        for _ in range(_MESSAGES):
            message, content = await protocol.read()
            if not 100 <= message.code < 200 or message.code == 101:  # 101: it would speak another protocol
                break
        if not 200 <= message.code <= 599:
            raise Transient("answer_malformed", f"the answer is not HTTP: its status is {message.code}")
        body = await _start_of(content)
        whole = content.is_eof()
        return Answer(message.code, {name.lower(): value for name, value in message.headers.items()}, body)
    finally:
        if not whole and connection.transport is not None:
            connection.transport.abort()  # closing would wait until the receiver has read all that was sent
        if whole and keep:
            connection.release()
        else:
            connection.close()


async def _start_of(content: aiohttp.StreamReader) -> bytes:
    """The body up to the cap, or what came of it in time: it is only shown to people, the status stands."""
    received = bytearray()
    if content.is_eof():  # it came with the headers, or there is none: nothing to wait for
        return content.read_nowait(RESPONSE_CAP)
    try:
        async with asyncio.timeout(_BODY_PATIENCE_S):
            while len(received) < RESPONSE_CAP and (piece := await content.read(RESPONSE_CAP - len(received))):
                received += piece
    except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
        pass
    return bytes(received)
