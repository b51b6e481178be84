"""Reading answers: however they come in pieces, whatever they are."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.notifier.http1 import Connection, Cut, Head, Malformed, request_bytes

LIMIT = 1000


class Pipe:
    """A transport that hands out what was put into it, one piece each time the reader waits."""

    def __init__(self, connection: Connection, pieces: list[bytes], *, ends: bool) -> None:
        self.connection = connection
        self.pieces = pieces
        self.ends = ends
        self.aborted = False

    def resume_reading(self) -> None:
        asyncio.get_running_loop().call_soon(self._next)

    def pause_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def _next(self) -> None:
        if self.pieces:
            self.connection.data_received(self.pieces.pop(0))
        elif self.ends:
            self.connection.connection_lost(None)


def read(*pieces: bytes, ends: bool = True, limit: int = LIMIT) -> tuple[Head, bytes, bool, bool]:
    """Head, body, whether the connection says it can be used again, and whether it is."""

    async def run() -> tuple[Head, bytes, bool, bool]:
        connection = Connection()
        connection.connection_made(cast("Any", Pipe(connection, list(pieces), ends=ends)))
        async with asyncio.timeout(5):
            head = await connection.head()
            body = bytearray()
            again = await connection.body(head, body, limit)
        return head, bytes(body), again, again and connection.idle

    return asyncio.run(run())


def chunked(body: bytes, sizes: list[int]) -> bytes:
    parts = []
    for size in sizes:
        if piece := body[:size]:
            parts.append(f"{len(piece):x};ext=1\r\n".encode() + piece + b"\r\n")
            body = body[size:]
    rest = f"{len(body):X}\r\n".encode() + body + b"\r\n" if body else b""
    return b"".join(parts) + rest + b"0\r\nTrailer: x\r\n\r\n"


@given(st.binary(max_size=300), st.booleans(), st.lists(st.integers(1, 50), max_size=5), st.lists(st.integers(0, 400)))
def test_an_answer_is_the_same_however_it_is_cut_into_pieces(
    body: bytes, in_chunks: bool, sizes: list[int], cuts: list[int]
) -> None:
    framing = b"Transfer-Encoding: chunked" if in_chunks else f"Content-Length: {len(body)}".encode()
    sent = chunked(body, sizes) if in_chunks else body
    whole = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-A:  b \r\n" + framing + b"\r\n\r\n" + sent
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    pieces = [whole[one:other] for one, other in itertools.pairwise(places)]
    head, found, again, idle = read(*pieces, ends=False)
    assert (head.status, head.headers["x-a"], found, again, idle) == (200, "b", body, True, True)


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_anything_is_an_answer_or_refused_and_nothing_hangs(pieces: list[bytes]) -> None:
    for start in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        try:
            _, body, _, _ = read(start, *(piece for piece in pieces if piece))
        except (Malformed, Cut):
            continue
        assert len(body) <= LIMIT


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 600 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"<html>\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 9 + b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nspace : x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\x00c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a" * 20_000,
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 300 + b"\r\n",
    ],
)
def test_what_is_not_http_is_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        read(raw, ends=False)


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 O", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"])
def test_what_ends_too_soon_is_told(raw: bytes) -> None:
    with pytest.raises(Cut):
        read(raw)


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", b"ab"),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\nab", b"ab"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab" + b"HTTP/1.1 200 OK\r\n\r\n", b"ab"),
        (b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 500 planted\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", b"a"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"a" * 5000, b"a" * LIMIT),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n" + b"a" * 5000, b"a" * LIMIT),
    ],
)
def test_a_connection_in_doubt_is_not_used_again(raw: bytes, body: bytes) -> None:
    _, found, _, idle = read(raw)
    assert (found, idle) == (body, False)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {"a": "b\r\nc: d"}),
        ("/", {"a\r\nb": "c"}),
        ("/", {"a": "b\x00"}),
        ("/ HTTP/1.1\r\nx: y", {}),
        ("/a b", {}),
        ("no slash", {}),
    ],
)
def test_nothing_that_would_be_read_as_more_is_sent(path: str, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        request_bytes(path, headers, b"")


def test_a_request_as_it_goes_out() -> None:
    assert request_bytes("/hook?a=b", {"Host": "h"}, b"{}") == (
        b"POST /hook?a=b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
    )
