"""The one place that touches the HTTP library: requests out, answers in, failures as `Unanswered`.

Presigned URLs go through a client of their own, which never carries the API token.
"""

from __future__ import annotations

import ssl
import threading
from importlib import metadata
from typing import Any, Final, TypeAlias

import httpx2

from muniment.contracts.errors import MunimentError
from muniment.sdk.exchange import Answer, Request, Unanswered
from muniment.sdk.settings import Server, is_loopback

MAX_ANSWER: Final = 64 * 1024 * 1024
CONNECT_TIMEOUT_S: Final = 5.0

Seam: TypeAlias = Any
"""An `httpx2` transport that stands in for the network, in tests: `httpx2.MockTransport`, `httpx2.ASGITransport`."""


def user_agent() -> str:
    """Who asks."""
    return f"muniment-sdk/{metadata.version('muniment')}"


def client_options(url: str, timeout: float, seam: Seam) -> dict[str, Any]:
    """How an HTTP client for a URL is made: no redirects, no proxy for loopback, and no trust store where none is used.

    Loading the system's trust store takes longer than publishing a small model, so plain HTTP gets an empty one:
    should such a client ever meet https, it trusts nobody.
    """
    secure = url.startswith("https:")
    return {
        "timeout": httpx2.Timeout(timeout, connect=CONNECT_TIMEOUT_S),
        "follow_redirects": False,
        "trust_env": not is_loopback(url),
        "headers": {"User-Agent": user_agent()},
        "verify": True if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        "transport": seam,
    }


def url_of(server: Server, request: Request) -> str:
    """Where a request goes."""
    return server.base(request.service) + request.target


def headers_of(server: Server, request: Request) -> dict[str, str]:
    """A request's headers with the token."""
    headers = {"Accept": "application/json", **request.headers}
    if server.token:
        headers["Authorization"] = f"Bearer {server.token}"
    return headers


def lost(error: httpx2.RequestError, url: str) -> Unanswered:
    """A failure of the HTTP library as `Unanswered`. Only a connection that never stood means "not sent"."""
    unsent = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.ProxyError)
    reason = str(error) or type(error).__name__
    return Unanswered(reason, sent=not unsent, url=url.partition("?")[0])


def check_size(size: int) -> None:
    """Refuse an answer that grows beyond `MAX_ANSWER` (`answer_too_large`)."""
    if size > MAX_ANSWER:
        raise MunimentError(
            "answer_too_large", "the server's answer is too large", expected=f"<= {MAX_ANSWER} B", actual=f"> {size} B"
        )


def lower(headers: httpx2.Headers) -> dict[str, str]:
    """Header names in lower case, values as text."""
    return {name.lower(): value for name, value in headers.items()}


class HttpClients:
    """Blocking HTTP clients, one a scheme and kind of host, made when first needed and shared by all threads."""

    def __init__(self, timeout: float, seam: Seam = None) -> None:
        self._timeout = timeout
        self._seam = seam
        self._clients: dict[tuple[bool, bool], httpx2.Client] = {}
        self._lock = threading.Lock()

    def of(self, url: str) -> httpx2.Client:
        """The client for a URL. It carries no token."""
        kind = url.startswith("https:"), is_loopback(url)
        with self._lock:
            if kind not in self._clients:
                self._clients[kind] = httpx2.Client(**client_options(url, self._timeout, self._seam))
            return self._clients[kind]

    def send(self, server: Server, request: Request) -> Answer:
        """Send one API request. Raises `Unanswered`."""
        url = url_of(server, request)
        timeout = httpx2.Timeout(self._timeout + request.wait, connect=CONNECT_TIMEOUT_S)
        try:
            with self.of(url).stream(
                request.method, url, content=request.body, headers=headers_of(server, request), timeout=timeout
            ) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    check_size(len(body))
                return Answer(response.status_code, lower(response.headers), bytes(body))
        except httpx2.RequestError as error:
            raise lost(error, url) from error

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()


class AsyncHttpClients:
    """The same for asyncio. Only API requests: bytes are moved by threads (`muniment.sdk.transfer`)."""

    def __init__(self, timeout: float, seam: Seam = None) -> None:
        self._timeout = timeout
        self._seam = seam
        self._clients: dict[tuple[bool, bool], httpx2.AsyncClient] = {}

    def of(self, url: str) -> httpx2.AsyncClient:
        """The client for a URL. It carries no token."""
        kind = url.startswith("https:"), is_loopback(url)
        if kind not in self._clients:
            self._clients[kind] = httpx2.AsyncClient(**client_options(url, self._timeout, self._seam))
        return self._clients[kind]

    async def send(self, server: Server, request: Request) -> Answer:
        """Send one API request. Raises `Unanswered`."""
        url = url_of(server, request)
        timeout = httpx2.Timeout(self._timeout + request.wait, connect=CONNECT_TIMEOUT_S)
        try:
            async with self.of(url).stream(
                request.method, url, content=request.body, headers=headers_of(server, request), timeout=timeout
            ) as response:
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    check_size(len(body))
                return Answer(response.status_code, lower(response.headers), bytes(body))
        except httpx2.RequestError as error:
            raise lost(error, url) from error

    async def aclose(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()
