"""Requests of the API put on the wire, with the token; blocking (`send`) and for asyncio (`AsyncSender`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from muniment.contracts.version import VERSION
from muniment.sdk.exchange import Answer, Request, Unanswered
from muniment.sdk.settings import Server, is_loopback
from muniment.sdk.wire import CONNECT_TIMEOUT_S, Response, Wire, answer_too_large

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2

    from muniment.sdk.transfer.pool import Stop

MAX_ANSWER: Final = 64 * 1024 * 1024


def send(wire: Wire, server: Server, request: Request, timeout: float) -> Answer:
    """Send one request and read its answer. Raises `Unanswered`, `MunimentError` (`answer_too_large`)."""
    with wire.exchange(
        request.method,
        _url(server, request),
        headers=_headers(server, request),
        body=request.body,
        timeout=timeout + request.wait,
    ) as response:
        return Answer(response.status, response.headers, response.read(MAX_ANSWER))


@contextmanager
def opened(wire: Wire, server: Server, request: Request, timeout: float) -> Iterator[Response]:
    """The same with an answer that is read while it comes. Raises `Unanswered`."""
    with wire.exchange(
        request.method, _url(server, request), headers=_headers(server, request), timeout=timeout + request.wait
    ) as response:
        yield response


@dataclass(frozen=True, slots=True)
class AsyncResponse:
    """A status, headers (names in lower case), and a body that is read when asked for."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]

    async def read(self, limit: int) -> bytes:
        """The first `limit` bytes of the body, or all."""
        body = bytearray()
        async for piece in self.pieces:
            body += piece
            if len(body) > limit:
                break
        return bytes(body[:limit])


def save(wire: Wire, server: Server, request: Request, path: Path, stop: Stop) -> Answer:
    """Send one request and write its answer into a file, which appears once it is whole; a refusal's body is returned.

    Raises `Unanswered` (also for an answer that is cut off), `Stopped`, and `OSError` of the file.
    """
    new = path.with_name(f"{path.name}.part")
    try:
        with wire.exchange(request.method, _url(server, request), headers=_headers(server, request)) as response:
            if response.status != 200:
                return Answer(response.status, response.headers, response.read(MAX_ANSWER))
            with new.open("wb") as file:
                for chunk in response.chunks():
                    stop.check()
                    file.write(chunk)
            new.replace(path)
            return Answer(response.status, response.headers, b"")
    finally:
        new.unlink(missing_ok=True)


class AsyncSender:
    """The same on asyncio. Bytes of files do not go this way: threads move them (`muniment.sdk.transfer`)."""

    def __init__(self, server: Server, timeout: float) -> None:
        self._server = server
        self._timeout = timeout
        self._clients: dict[tuple[bool, bool], httpx2.AsyncClient] = {}

    async def send(self, request: Request) -> Answer:
        """Send one request and read its answer. Raises `Unanswered`, `MunimentError` (`answer_too_large`)."""
        import httpx2

        url = _url(self._server, request)
        client = self._client(url)
        limits = httpx2.Timeout(self._timeout + request.wait, connect=CONNECT_TIMEOUT_S)
        headers = _headers(self._server, request)
        try:
            async with client.stream(
                request.method, url, content=request.body, headers=headers, timeout=limits
            ) as response:
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER:
                        raise answer_too_large(MAX_ANSWER)
                found = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status_code, found, bytes(body))
        except httpx2.RequestError as error:
            unsent = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError)
            reason = str(error) or type(error).__name__
            raise Unanswered(reason, sent=not unsent, url=url.partition("?")[0]) from error

    @asynccontextmanager
    async def opened(self, request: Request) -> AsyncIterator[AsyncResponse]:
        """An answer that is read while it comes. Raises `Unanswered`, also out of the block."""
        import httpx2

        url = _url(self._server, request)
        limits = httpx2.Timeout(self._timeout + request.wait, connect=CONNECT_TIMEOUT_S)
        headers = _headers(self._server, request)
        try:
            async with self._client(url).stream(request.method, url, headers=headers, timeout=limits) as response:
                found = {name.lower(): value for name, value in response.headers.items()}
                yield AsyncResponse(response.status_code, found, response.aiter_bytes())
        except httpx2.RequestError as error:
            reason = str(error) or type(error).__name__
            raise Unanswered(reason, sent=True, url=url.partition("?")[0]) from error

    async def aclose(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    def _client(self, url: str) -> httpx2.AsyncClient:
        kind = url.startswith("https:"), is_loopback(url)
        if kind not in self._clients:
            self._clients[kind] = _async_client(*kind)
        return self._clients[kind]


def _async_client(secure: bool, loopback: bool) -> httpx2.AsyncClient:
    import ssl

    import httpx2

    # Loading the system's trust store takes a tenth of a second, so plain HTTP gets an empty one: should such a client
    # ever meet https, it trusts nobody.
    verify: Any = True if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx2.AsyncClient(verify=verify, follow_redirects=False, trust_env=not loopback)


def _url(server: Server, request: Request) -> str:
    return server.base(request.service) + request.target


def _headers(server: Server, request: Request) -> dict[str, str]:
    headers = {
        "User-Agent": f"muniment-sdk/{VERSION}",
        "Accept": "application/json",
        **request.headers,
    }
    if server.token:
        headers["Authorization"] = f"Bearer {server.token}"
    return headers
