"""The one client for addresses that users name. Every channel that speaks HTTP goes through it.

A name is resolved once for a connection, every address it has must be allowed, and the socket goes to one of those very
addresses: what a second look-up would say does not matter (DNS rebinding). TLS and the Host header keep the name. There
are no redirects, no proxies, no cookies, no decompression; answers are cut, and a total deadline covers it all.

The guard sits in the connection pool's network backend, so that no path through the client can avoid it.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Self
from urllib.parse import quote

import httpcore2
import httpx2

from muniment.contracts.errors import MunimentError, Rejected, Transient
from muniment.notifier.addresses import AddressPolicy, parse_address

RESPONSE_CAP: Final = 64 * 1024
MAX_URL: Final = 2048
_BODY_PATIENCE_S: Final = 1.0
"""How long the answer's body is read once the status is known: it is for people, and must not hold a slot."""
_CONNECT_TRIES: Final = 3
_HOST: Final = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9_.])?|[0-9a-f:.]{2,45}")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""A host name and port to the addresses it has now. Raises `OSError`."""


class Refused(Rejected):
    """The guard does not call this address; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Target:
    """A checked URL: what is connected to, and what is asked for there."""

    url: str
    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port: what may be shown where a path could hold a secret."""
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `body` is cut at `RESPONSE_CAP`, `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    permanent: bool = False
    """A refusal for good: asking again would give the same."""


_PORTS: Final = {"http": 80, "https": 443}


@lru_cache(maxsize=4096)
def target_of(url: str, policy: AddressPolicy) -> Target:
    """The URL as a target, checked in form; an address written out is checked at once.

    Names are not resolved here: what they mean is judged when they are called. Raises `Rejected` (`url_invalid`)
    and `Refused` (`address_refused`).
    """
    try:
        parsed = httpx2.URL(url)
        scheme, host = parsed.scheme, parsed.raw_host.decode()
    except (httpx2.InvalidURL, UnicodeError, ValueError, TypeError) as error:
        raise _invalid(url, f"it cannot be read: {error}") from error
    if len(url) > MAX_URL:
        raise _invalid(url, "it is too long")
    if scheme not in _PORTS:
        raise _invalid(url, "the scheme is not https")
    if scheme == "http" and not policy.allowed:
        raise _invalid(url, "plain http is not allowed here")
    if parsed.userinfo or "@" in url.split("?", 1)[0].partition("://")[2].split("/", 1)[0] or "\\" in url:
        raise _invalid(url, "it carries user information")
    if "#" in url:
        raise _invalid(url, "it carries a fragment")
    if not _HOST.fullmatch(host):
        raise _invalid(url, "the host is neither a name nor an address")
    port = _PORTS[scheme] if parsed.port is None else parsed.port
    if not 1 <= port <= 65535:
        raise _invalid(url, "the port is not between 1 and 65535")
    target = Target(str(parsed), scheme, host, port, parsed.raw_path.decode())
    try:
        literal = parse_address(host)
    except ValueError:
        return target
    if why := policy.refusal(literal, encrypted=scheme == "https"):
        raise _refused(host, [f"{literal} ({why})"])
    return target


class Outbound:
    """The client. Close it with `aclose`, or use it as an async context manager."""

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        connections: int,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.policy = policy
        # An own, bounded pool: names whose servers do not answer must not take the process's other threads.
        self._threads = ThreadPoolExecutor(max_workers=2 * connections, thread_name_prefix="notifier-dns")
        context = tls or ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._pools = {
            scheme: httpcore2.AsyncConnectionPool(
                ssl_context=context,
                max_connections=connections,
                max_keepalive_connections=connections,
                keepalive_expiry=30.0,
                network_backend=_GuardedBackend(
                    policy, resolve or self._resolve, context if scheme == "https" else None
                ),
            )
            for scheme in _PORTS
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def post(self, target: Target, *, headers: Mapping[str, str], body: bytes, deadline_s: float) -> Answer:
        """POST once and return the answer, whatever its status.

        Raises `Refused` (`address_refused`) with nothing sent, and `Transient` (`timeout`, `name_not_resolved`,
        `connection_failed`, `tls_failed`, `answer_malformed`), after which the receiver may have it or not.
        """
        sent = [
            ("Host", target.authority),
            ("User-Agent", "muniment-notifier"),
            ("Content-Length", str(len(body))),
            *headers.items(),
        ]
        url = httpcore2.URL(
            scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
        )
        loop = asyncio.get_running_loop()
        ends = loop.time() + deadline_s
        try:
            async with (
                asyncio.timeout_at(ends),
                self._pools[target.scheme].stream(
                    "POST", url, headers=[(name.encode(), value.encode()) for name, value in sent], content=body
                ) as response,
            ):
                received = await _start_of(response, min(ends, loop.time() + _BODY_PATIENCE_S))
                return Answer(response.status, _headers(response.headers), received)
        except TimeoutError as error:
            raise Transient(
                "timeout", "the receiver took too long", expected=f"an answer within {deadline_s:g} s"
            ) from error
        except MunimentError:
            raise
        except Exception as error:
            raise _translated(error) from error

    async def _resolve(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _getaddrinfo, host, port)
        return [str(entry[4][0]) for entry in found]


def _getaddrinfo(host: str, port: int) -> Sequence[tuple[object, object, object, object, tuple[object, ...]]]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class _GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Opens sockets only to addresses that the policy allows, and TLS under the name that was asked for."""

    def __init__(self, policy: AddressPolicy, resolve: Resolve, tls: ssl.SSLContext | None) -> None:
        self._policy = policy
        self._resolve = resolve
        self._tls = tls

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        addresses = await self._allowed(host, port)
        failure: OSError | None = None
        for address in addresses:
            try:
                # An address, so nothing is looked up again; the certificate is checked against the name.
                reader, writer = await asyncio.open_connection(
                    address, port, ssl=self._tls, server_hostname=host if self._tls else None
                )
            except OSError as error:
                failure = error
            else:
                return _Stream(reader, writer)
        raise _not_connected(failure) from failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: object = None
    ) -> httpcore2.AsyncNetworkStream:
        raise Refused("address_refused", "a socket file is no receiver", actual=path)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _allowed(self, host: str, port: int) -> list[str]:
        """The host's addresses, if every one of them may be called."""
        try:
            found = list(dict.fromkeys(await self._resolve(host, port)))
        except (OSError, UnicodeError) as error:
            raise Transient("name_not_resolved", f"{host} has no address: {error}") from error
        if not found:
            raise Transient("name_not_resolved", f"{host} has no address")
        refused = []
        for text in found:
            try:
                why = self._policy.refusal(parse_address(text), encrypted=self._tls is not None)
            except ValueError:
                why = "not an address"
            if why:
                refused.append(f"{text} ({why})")
        if refused:
            raise _refused(host, refused)
        return found[:_CONNECT_TRIES]


class _Stream(httpcore2.AsyncNetworkStream):
    """A connection in asyncio's own streams. Deadlines are the caller's: one timeout covers the whole request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return await self._reader.read(max_bytes)
        except OSError as error:
            raise httpcore2.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            self._writer.write(buffer)
            await self._writer.drain()
        except OSError as error:
            raise httpcore2.WriteError(str(error)) from error

    async def aclose(self) -> None:
        self._writer.transport.abort()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        return self  # the https pool's connections were opened with it

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # asked of every idle connection before each request, so it must cost nothing
            return self._reader.at_eof() or self._writer.transport.is_closing()
        return self._writer.get_extra_info(info)


async def _start_of(response: httpcore2.Response, until: float) -> bytes:
    """The body's first bytes, as many as come in time. What is left unread closes the connection."""
    received = bytearray()
    try:
        async with asyncio.timeout_at(until):
            async for chunk in response.aiter_stream():
                received += chunk[: RESPONSE_CAP - len(received)]
                if len(received) >= RESPONSE_CAP:
                    break
    except (TimeoutError, httpcore2.NetworkError, httpcore2.ProtocolError):
        pass  # the status stands; the body is only shown to people
    return bytes(received)


def _headers(raw: Sequence[tuple[bytes, bytes]]) -> Mapping[str, str]:
    return MappingProxyType({name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw})


def _not_connected(error: OSError | None) -> Transient:
    if isinstance(error, ssl.SSLError):
        return Transient("tls_failed", f"TLS failed: {getattr(error, 'verify_message', None) or error.reason or error}")
    return Transient("connection_failed", f"the connection failed: {error}")


def _translated(error: Exception) -> MunimentError:
    """A library's error as ours. Its text names causes, never headers or bodies."""
    if isinstance(error, httpcore2.ProtocolError):
        return Transient("answer_malformed", f"the answer is not HTTP: {error}")
    return Transient("connection_failed", f"the connection failed: {str(error) or type(error).__name__}")


def _refused(host: str, addresses: Sequence[str]) -> Refused:
    return Refused(
        "address_refused",
        f"{host} leads to an address that is not called",
        expected="globally routable addresses only",
        actual=", ".join(addresses),
        hint="an operator can open private networks with MUNIMENT_NOTIFIER__ALLOW_PRIVATE_NETWORKS",
    )


def _invalid(url: str, why: str) -> Rejected:
    shown = quote(url.split("?", 1)[0][:200], safe=":/@[]%")
    return Rejected("url_invalid", f"the URL is not allowed: {why}", expected="https://HOST[:PORT]/PATH", actual=shown)
