"""Blocking HTTP/1.1 on the standard library: pooled connections, files sent by the kernel, answers read in pieces.

Loading an HTTP library takes longer than publishing a small model does, so the blocking client makes do without one
(the asyncio client has `httpx2`). Redirects are not followed, cookies not kept, bodies not decoded.
"""

from __future__ import annotations

import http.client
import select
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import SplitResult, urlsplit

from muniment.contracts.errors import MunimentError
from muniment.sdk.exchange import Unanswered
from muniment.sdk.proxies import Proxy, proxy_for
from muniment.sdk.settings import is_loopback

if TYPE_CHECKING:
    import ssl

CONNECT_TIMEOUT_S: Final = 5.0
_CHUNK: Final = 1024 * 1024
_PIECE: Final = 64 * 1024
_IDLE: Final = 8
"""Connections to one place that are kept for later."""


@dataclass(frozen=True, slots=True)
class FileRange:
    """A part of a file as a request's body. `moved` hears of bytes that were handed to the kernel, and may raise."""

    source: Path
    offset: int
    size: int
    moved: Callable[[int], None]
    short: Callable[[], Exception]
    """Makes the error for a file that ends too early."""


Body: TypeAlias = bytes | FileRange | None


class Response:
    """A status, headers (names in lower case), and a body that is read when asked for."""

    def __init__(self, raw: http.client.HTTPResponse, url: str) -> None:
        self._raw = raw
        self._url = url
        self.status = raw.status
        self.headers = {name.lower(): value for name, value in raw.getheaders()}

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces. Raises `Unanswered` when it is cut off."""
        try:
            while chunk := self._raw.read(_CHUNK):
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise _lost(error, self._url) from error
        if self._raw.length:
            raise Unanswered("the connection was closed within the answer", sent=True, url=_place(self._url))

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes, for one without an end. Raises `Unanswered` when it is cut off."""
        try:
            while piece := self._raw.read1(_PIECE):
                yield piece
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _lost(error, self._url) from error

    def read(self, limit: int) -> bytes:
        """The whole body. Raises `MunimentError` (`answer_too_large`) beyond `limit` bytes, and `Unanswered`."""
        body = bytearray()
        for chunk in self.chunks():
            body += chunk
            if len(body) > limit:
                raise answer_too_large(limit)
        return bytes(body)

    @property
    def is_read(self) -> bool:
        """Whether the connection can carry another request."""
        return self._raw.isclosed() and not self._raw.will_close


class Wire:
    """Connections to any number of places, shared by threads. A request holds one for itself until it is over."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = {}
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None

    @contextmanager
    def exchange(
        self, method: str, url: str, *, headers: Mapping[str, str], body: Body = None, timeout: float | None = None
    ) -> Iterator[Response]:
        """Send a request; the block reads its answer. `timeout`: seconds without a byte. Raises `Unanswered`."""
        split = urlsplit(url)
        proxy = None if is_loopback(url) else proxy_for(split)
        connection = self._connected(split, proxy, url)
        try:
            connection.sock.settimeout(self._timeout if timeout is None else timeout)
            response = Response(_asked(connection, method, split, proxy, headers, body), url)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _lost(error, url) from error
        except BaseException:
            connection.close()
            raise
        try:
            yield response
        finally:
            self._give_back(connection, split, reusable=response.is_read)

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            for connections in self._idle.values():
                for connection in connections:
                    connection.close()
            self._idle.clear()

    def _connected(self, split: SplitResult, proxy: Proxy | None, url: str) -> http.client.HTTPConnection:
        while (connection := self._take(split)) is not None:
            # A connection with something to read before anything was asked was closed at the other end.
            if not select.select([connection.sock], [], [], 0)[0]:
                return connection
            connection.close()
        connection = self._new(split, proxy)
        try:
            connection.connect()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unanswered(_words(error), sent=False, url=_place(url)) from error
        return connection

    def _take(self, split: SplitResult) -> http.client.HTTPConnection | None:
        with self._lock:
            idle = self._idle.get((split.scheme, split.netloc))
            return idle.pop() if idle else None

    def _give_back(self, connection: http.client.HTTPConnection, split: SplitResult, *, reusable: bool) -> None:
        with self._lock:
            idle = self._idle.setdefault((split.scheme, split.netloc), [])
            if reusable and len(idle) < _IDLE:
                idle.append(connection)
                return
        connection.close()

    def _new(self, split: SplitResult, proxy: Proxy | None) -> http.client.HTTPConnection:
        host = proxy.host if proxy else str(split.hostname)
        port = proxy.port if proxy else split.port
        if split.scheme != "https":
            return http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT_S)
        connection = http.client.HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT_S, context=self._trust())
        if proxy:
            connection.set_tunnel(str(split.hostname), split.port, headers=dict(proxy.headers))
        return connection

    def _trust(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                from httpx2 import create_ssl_context  # the same trust as the asyncio client has

                self._tls = create_ssl_context()
            return self._tls


def answer_too_large(limit: int) -> MunimentError:
    """The error of an answer that goes on and on."""
    return MunimentError("answer_too_large", "the server's answer is too large", expected=f"<= {limit} B")


def _asked(
    connection: http.client.HTTPConnection,
    method: str,
    split: SplitResult,
    proxy: Proxy | None,
    headers: Mapping[str, str],
    body: Body,
) -> http.client.HTTPResponse:
    target = (split.path or "/") + (f"?{split.query}" if split.query else "")
    through = proxy if proxy and split.scheme == "http" else None
    connection.putrequest(
        method,
        f"http://{split.netloc}{target}" if through else target,
        skip_host=True,
        skip_accept_encoding=True,
    )
    given = {"Host": split.netloc, "Accept-Encoding": "identity", **(through.headers if through else {}), **headers}
    if isinstance(body, FileRange):
        given["Content-Length"] = str(body.size)
    elif body is not None or method in {"POST", "PUT", "PATCH"}:
        given["Content-Length"] = str(len(body or b""))
    for name, value in given.items():
        connection.putheader(name, value)
    if not isinstance(body, FileRange):
        connection.endheaders(body)
        return connection.getresponse()
    connection.endheaders()
    try:
        _send_file(connection.sock, body)
    except (BrokenPipeError, ConnectionResetError):
        # A server that refuses a body says why before it closes: that answer is worth more than the broken pipe.
        with suppress(OSError, http.client.HTTPException):
            return connection.getresponse()
        raise
    return connection.getresponse()


def _send_file(sock: socket.socket, body: FileRange) -> None:
    left = body.size
    with body.source.open("rb", buffering=0) as file:
        while left:
            sent = sock.sendfile(file, body.offset + body.size - left, min(left, _CHUNK))
            if not sent:
                raise body.short()
            left -= sent
            body.moved(sent)


def _lost(error: Exception, url: str) -> Unanswered:
    return Unanswered(_words(error), sent=True, url=_place(url))


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _place(url: str) -> str:
    return url.partition("?")[0]
