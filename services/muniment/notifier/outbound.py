"""The one client for addresses that users name. Every channel that speaks HTTP goes through it.

A name is resolved once for a connection, every address it has must be allowed, and the socket goes to one of those very
addresses: what a second look-up would say does not matter (DNS rebinding). TLS and the Host header keep the name. There
are no redirects, no proxies, no cookies, no decompression; answers are cut.

aiohttp makes and keeps connections. The guard stands twice: where it resolves names, and where it makes a socket for an
address, so nothing that it connects to by itself gets around the policy. `posting` speaks HTTP over them.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final, Self
from urllib.parse import quote

import aiohttp
import httpx2
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType
from aiohttp.http import HttpProcessingError
from yarl import URL

from muniment.contracts.errors import Rejected, Transient
from muniment.notifier.addresses import AddressPolicy, parse_address
from muniment.notifier.posting import Answer, Unfit, post, request_bytes

MAX_URL: Final = 2048
_CONNECT_TRIES: Final = 3
_KEPT_TRIES: Final = 3
"""Kept connections that turn out to be unfit before a request fails."""
_IDLE_S: Final = 30.0
"""How long a connection is kept for the next request."""
_AGENT: Final = "muniment-notifier"
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None)
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


_PORTS: Final = {"http": 80, "https": 443}


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
    host = _spelt_out(host)
    port = _PORTS[scheme] if parsed.port is None else parsed.port
    if not 1 <= port <= 65535:
        raise _invalid(url, "the port is not between 1 and 65535")
    target = Target(str(parsed), scheme, host, port, parsed.raw_path.decode())
    try:
        literal = parse_address(host)
    except ValueError:
        if host.replace(".", "").isdigit():
            raise _invalid(url, "the host is neither a name nor an address") from None
        return target
    if why := policy.refusal(literal, encrypted=scheme == "https"):
        raise _refused(host, [f"{literal} ({why})"])
    return target


def _spelt_out(host: str) -> str:
    """`127.1`, `0x7f.1` and `2130706433` as the address they are to a socket (and to WHATWG's URLs)."""
    try:
        return socket.inet_ntoa(socket.inet_aton(host.removesuffix(".")))
    except OSError:
        return host


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
        self.target_of = lru_cache(maxsize=4096)(partial(target_of, policy=policy))
        """`target_of` under this client's policy."""
        self.policy = policy
        # An own, bounded pool: names whose servers do not answer must not take the process's other threads.
        self._threads = ThreadPoolExecutor(max_workers=2 * connections, thread_name_prefix="notifier-dns")
        self._tls = tls or ssl.create_default_context()
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._resolve_with = resolve or self._resolve
        self._at_once = asyncio.Semaphore(connections)
        self._connections = connections
        self._sockets: set[socket.socket] = set()
        """Those of open connections, in use or kept."""
        self._connectors: dict[bool, aiohttp.TCPConnector] = {}
        """One for https, one for http, each with its own guard: plain http may go to fewer addresses."""
        self._ways = lru_cache(maxsize=4096)(self._way)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        for connector in self._connectors.values():
            await connector.close()
        self._connectors.clear()
        self._ways.cache_clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def post(self, target: Target, *, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST once and return the answer, whatever its status. It takes as long as the caller lets it.

        Raises `Refused` (`address_refused`) with nothing sent, and `Transient` (`name_not_resolved`,
        `connection_failed`, `tls_failed`, `answer_malformed`), after which the receiver may have it or not.
        """
        request = request_bytes(target.path, {"Host": target.authority, "User-Agent": _AGENT, **headers}, body)
        try:
            async with self._at_once:
                for _ in range(_KEPT_TRIES):
                    with contextlib.suppress(Unfit):
                        return await self._post(target.origin, request)
                return await self._post(target.origin, request)
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            raise _failed(error) from error

    async def _post(self, origin: str, request: bytes) -> Answer:
        connector, destination = self._ways(origin)
        connection = await connector.connect(destination, [], _NO_TIMEOUT)
        return await post(connection, request, keep=not self._too_many_open())

    def _way(self, origin: str) -> tuple[aiohttp.TCPConnector, aiohttp.ClientRequest]:
        """Who connects to an origin, and what it takes for the name of where to."""
        url = URL(origin, encoded=True)
        encrypted = url.scheme == "https"
        if encrypted not in self._connectors:
            self._connectors[encrypted] = aiohttp.TCPConnector(
                resolver=_Resolver(self, encrypted=encrypted),
                use_dns_cache=False,  # what a name means is judged for each connection
                socket_factory=lambda info: self._socket(info, encrypted=encrypted),
                happy_eyeballs_delay=None,
                ssl=self._tls,
                limit=self._connections,
                keepalive_timeout=_IDLE_S,
            )
        return self._connectors[encrypted], aiohttp.ClientRequest("POST", url, loop=asyncio.get_running_loop())

    @property
    def open_sockets(self) -> int:
        """Connections that are open, in use or kept: twice as many as may be used at once, at most."""
        return sum(made.fileno() >= 0 for made in self._sockets)

    def _too_many_open(self) -> bool:
        """Whether more are open than may be used at once. Asked for each request: it looks at sockets only in doubt."""
        if len(self._sockets) <= self._connections:
            return False
        self._sockets = {made for made in self._sockets if made.fileno() >= 0}
        return len(self._sockets) > self._connections

    def _socket(self, info: AddrInfoType, *, encrypted: bool) -> socket.socket:
        """A socket for this address. Raises `Refused`: it is the last to see where the connection goes."""
        family, kind, protocol, _, address = info
        if why := self._refusal(str(address[0]), encrypted=encrypted):
            raise _refused(str(address[0]), [why])
        made = socket.socket(family, kind, protocol)
        self._sockets = {made, *(other for other in self._sockets if other.fileno() >= 0)}
        return made

    def _refusal(self, text: str, *, encrypted: bool) -> str | None:
        try:
            why = self.policy.refusal(parse_address(text), encrypted=encrypted)
        except ValueError:
            why = "not an address"
        return f"{text} ({why})" if why else None

    async def allowed(self, host: str, port: int, *, encrypted: bool) -> list[str]:
        """The host's addresses, if every one of them may be called: the first three.

        Raises `Transient` (`name_not_resolved`) and `Refused`.
        """
        try:
            found = list(dict.fromkeys(await self._resolve_with(host, port)))
        except (OSError, UnicodeError) as error:
            raise Transient("name_not_resolved", f"{host} has no address: {error}") from error
        if not found:
            raise Transient("name_not_resolved", f"{host} has no address")
        refused = [why for text in found if (why := self._refusal(text, encrypted=encrypted))]
        if refused:
            raise _refused(host, refused)
        return found[:_CONNECT_TRIES]

    async def _resolve(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _getaddrinfo, host, port)
        return [str(entry[4][0]) for entry in found]


class _Resolver(AbstractResolver):
    """Names as the guard lets them through."""

    def __init__(self, outbound: Outbound, *, encrypted: bool) -> None:
        self._outbound = outbound
        self._encrypted = encrypted

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Its allowed addresses. Raises as `Outbound.allowed`."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._outbound.allowed(host, port, encrypted=self._encrypted)
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _getaddrinfo(host: str, port: int) -> Sequence[tuple[object, object, object, object, tuple[object, ...]]]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _failed(error: Exception) -> Transient:
    if isinstance(error, HttpProcessingError):
        return Transient("answer_malformed", f"the answer is not HTTP: {error.message[:200]}")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        return Transient("tls_failed", f"TLS failed: {getattr(cause, 'verify_message', None) or cause}")
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return Transient("tls_failed", f"TLS failed: {error}")
    return Transient("connection_failed", f"the connection failed: {error}")


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
