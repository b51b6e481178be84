"""The proxy that lies in a store's name: what it passes on is untouched, what it changes is changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx2
import pytest

from tests.faults.http_proxy import HttpProxy, Request, refusal

BODY = bytes(range(256)) * 4


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with what it was asked, in chunks if `/chunked`."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-le")), 0)
    body = await reader.readexactly(length) or BODY
    framed = f"content-length: {len(body)}\r\n\r\n".encode() + body
    if "/chunked" in head:
        parts = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (body[:10], body[10:]))
        framed = b"transfer-encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"
    if head.startswith("HEAD"):
        framed = framed[: framed.index(b"\r\n\r\n") + 4]
    writer.write(b"HTTP/1.1 200 OK\r\nx-asked: " + head.split(" ")[1].encode() + b"\r\n" + framed)
    await writer.drain()
    writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[HttpProxy]:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    async with HttpProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as running:
        yield running
    server.close()


@pytest.fixture
async def http(proxy: HttpProxy) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{proxy.port}", trust_env=False) as client:
        yield client


@pytest.mark.parametrize("path", ["/bucket/a%2Fb?versionId=1", "/bucket/chunked"])
async def test_what_it_passes_on_is_untouched(http: httpx2.AsyncClient, path: str) -> None:
    for _ in range(2):  # over one connection
        answer = await http.get(path)
        assert (answer.headers["x-asked"], answer.content) == (path, BODY)
    assert (await http.put(path, content=b"put")).content == b"put"
    head = await http.head("/bucket/key")
    assert (head.headers["content-length"], head.content) == (str(len(BODY)), b"")


async def test_it_answers_in_the_stores_place(proxy: HttpProxy, http: httpx2.AsyncClient) -> None:
    seen: list[Request] = []

    def before(request: Request) -> None:
        seen.append(request)

    proxy.before = before
    await http.put("/bucket/some/key?retention=&versionId=1", content=b"lock")
    assert (seen[0].key, seen[0].query, seen[0].body) == ("some/key", {"retention": "", "versionId": "1"}, b"lock")
    proxy.before = lambda _: refusal(503, "SlowDown")
    answer = await http.get("/bucket/key")
    assert (answer.status_code, b"SlowDown" in answer.content) == (503, True)


async def test_it_changes_an_answer_and_cuts_one(proxy: HttpProxy, http: httpx2.AsyncClient) -> None:
    proxy.after = lambda _, answer: replace(answer, body=b"x" * len(answer.body))
    assert (await http.get("/bucket/key")).content == b"x" * len(BODY)
    proxy.after = lambda _, answer: replace(answer, sent=100)
    with pytest.raises(httpx2.RemoteProtocolError):
        await http.get("/bucket/key")
