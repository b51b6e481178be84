"""The one client for addresses that users name. Every channel that speaks HTTP goes through it.

A name is resolved once for a connection, every address it has must be allowed, and the socket goes to one of those very
addresses: what a second look-up would say does not matter (DNS rebinding). TLS and the Host header keep the name. There
are no redirects, no proxies, no cookies, no decompression; answers are cut, and a total deadline covers it all.

Every connection is opened in one place, behind the guard; one that is kept serves the name and port it was opened for.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self
from urllib.parse import quote

import httpx2

from muniment.contracts.errors import Rejected, Transient
from muniment.notifier.addresses import AddressPolicy, parse_address
from muniment.notifier.http1 import Connection, Malformed, request_bytes

RESPONSE_CAP: Final = 64 * 1024
MAX_URL: Final = 2048
_BODY_PATIENCE_S: Final = 1.0
"""How long the answer's body is read once the status is known: it is for people, and must not hold a slot."""
_CONNECT_TRIES: Final = 3
_IDLE_S: Final = 30.0
"""How long a connection is kept for the next request."""
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


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """A connection that waits for the next request to the same place."""

    place: tuple[str, str, int]
    connection: Connection
    until: float


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
        self._tls = tls or ssl.create_default_context()
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._resolve_with = resolve or self._resolve
        self._at_once = asyncio.Semaphore(connections)
        self._connections = connections
        self._kept: list[_Kept] = []
        """The longest unused first; as many as may be used at once, at most."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        for kept in self._kept:
            kept.connection.close()
        self._kept.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def post(self, target: Target, *, headers: Mapping[str, str], body: bytes, deadline_s: float) -> Answer:
        """POST once and return the answer, whatever its status.

        Raises `Refused` (`address_refused`) with nothing sent, and `Transient` (`timeout`, `name_not_resolved`,
        `connection_failed`, `tls_failed`, `answer_malformed`), after which the receiver may have it or not.
        """
        sent = request_bytes(
            target.path, {"Host": target.authority, "User-Agent": "muniment-notifier", **headers}, body
        )
        ends = asyncio.get_running_loop().time() + deadline_s
        try:
            async with asyncio.timeout_at(ends), self._at_once:
                return await self._exchange(target, sent, ends)
        except TimeoutError as error:
            raise Transient(
                "timeout", "the receiver took too long", expected=f"an answer within {deadline_s:g} s"
            ) from error
        except Malformed as error:
            raise Transient("answer_malformed", f"the answer is not HTTP: {error}") from error
        except OSError as error:
            raise _not_connected(error) from error

    async def _exchange(self, target: Target, sent: bytes, ends: float) -> Answer:
        loop = asyncio.get_running_loop()
        place = (target.scheme, target.host, target.port)
        connection = self._take(place) or await self._open(target)
        again = False
        try:
            await connection.write(sent)
            head = await connection.head()
            received = bytearray()
            try:
                async with asyncio.timeout_at(min(ends, loop.time() + _BODY_PATIENCE_S)):
                    again = await connection.body(head, received, RESPONSE_CAP)
            except (OSError, Malformed):  # TimeoutError is an OSError
                pass  # the status stands; the body is only shown to people
            return Answer(head.status, head.headers, bytes(received))
        finally:
            if again and connection.idle:
                self._keep(_Kept(place, connection, loop.time() + _IDLE_S))
            else:
                connection.close()

    def _take(self, place: tuple[str, str, int]) -> Connection | None:
        """A connection to this very name and port that was kept, the last used first."""
        now = asyncio.get_running_loop().time()
        for kept in reversed(self._kept[:]):
            if kept.until < now or not kept.connection.idle:
                kept.connection.close()
                self._kept.remove(kept)
            elif kept.place == place:
                self._kept.remove(kept)
                return kept.connection
        return None

    def _keep(self, kept: _Kept) -> None:
        if len(self._kept) >= self._connections:
            self._kept.pop(0).connection.close()
        self._kept.append(kept)

    async def _open(self, target: Target) -> Connection:
        """A new connection to an address of the target that is allowed, TLS under the target's name."""
        tls = self._tls if target.scheme == "https" else None
        failure: OSError | None = None
        for address in await self._allowed(target.host, target.port, encrypted=tls is not None):
            try:
                # An address, so nothing is looked up again; the certificate is checked against the name.
                _, connection = await asyncio.get_running_loop().create_connection(
                    Connection, address, target.port, ssl=tls, server_hostname=target.host if tls else None
                )
            except OSError as error:
                failure = error
            else:
                return connection
        raise _not_connected(failure) from failure

    async def _allowed(self, host: str, port: int, *, encrypted: bool) -> list[str]:
        """The host's addresses, if every one of them may be called."""
        try:
            found = list(dict.fromkeys(await self._resolve_with(host, port)))
        except (OSError, UnicodeError) as error:
            raise Transient("name_not_resolved", f"{host} has no address: {error}") from error
        if not found:
            raise Transient("name_not_resolved", f"{host} has no address")
        refused = []
        for text in found:
            try:
                why = self.policy.refusal(parse_address(text), encrypted=encrypted)
            except ValueError:
                why = "not an address"
            if why:
                refused.append(f"{text} ({why})")
        if refused:
            raise _refused(host, refused)
        return found[:_CONNECT_TRIES]

    async def _resolve(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _getaddrinfo, host, port)
        return [str(entry[4][0]) for entry in found]


def _getaddrinfo(host: str, port: int) -> Sequence[tuple[object, object, object, object, tuple[object, ...]]]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _not_connected(error: OSError | None) -> Transient:
    if isinstance(error, ssl.SSLError):
        return Transient("tls_failed", f"TLS failed: {getattr(error, 'verify_message', None) or error.reason or error}")
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
