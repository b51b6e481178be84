"""Short requests to the store, in the event loop: signed by minio-py's signer, carried by aiohttp.

A small object's way through minio-py's own client costs three times the processor (a thread, urllib3, its parser), and
the pipeline makes four such calls for every version. What is long (whole bodies of any size) or rare (buckets,
listings, uploads in parts) stays with minio-py.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit
from xml.etree import ElementTree as ET

import aiohttp
from minio.credentials.credentials import Credentials
from minio.signer import sign_v4_s3
from minio.time import to_amz_date, utcnow
from yarl import URL

from muniment.adapters.s3.errors import unavailable, what_was_said
from muniment.adapters.s3.options import S3Options, host_of

_EMPTY: Final = hashlib.sha256(b"").hexdigest()
_READS: Final = frozenset({"GET", "HEAD"})
_AGAIN: Final = frozenset({500, 502, 503, 504})
_WELL: Final = frozenset({200, 204, 206})
# What a status means where there is no body that would tell: answers to HEAD.
_BARE: Final = {400: "BadRequest", 403: "AccessDenied", 404: "NoSuchKey", 405: "MethodNotAllowed"}
_PIECE: Final = 1024 * 1024
_REFUSAL: Final = 64 * 1024  # bytes of an error that are worth reading
_SAFE: Final = "/-_.~"


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer. `body` is None where it is longer than the caller takes."""

    headers: Mapping[str, str]
    body: bytes | None


class RefusedError(Exception):
    """What the store itself said; the cause of the error that leaves."""

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.code, self.message = code, message


class S3Exchange:
    """One request at a time of at most `options.threads`. Opens nothing before the first."""

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self._host, secure = host_of(options.endpoint)
        self._base = f"{'https' if secure else 'http'}://{self._host}"
        self._credentials = Credentials(options.access_key, options.secret_key)
        self._tls = (
            ssl.create_default_context(cafile=str(options.cafile) if options.cafile else None) if secure else None
        )
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self,
        method: str,
        bucket: str,
        key: str,
        where: str,
        *,
        versioned: bool = False,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        at_most: int = 1024 * 1024,
        repeatable: bool = False,
    ) -> Answer:
        """A signed request; its whole answer (up to `at_most` bytes) in memory.

        Reads are tried again after a broken connection or a 5xx. A write is sent once, or, if it is `repeatable`, once
        more where its connection broke: one from the pool may have died idle. Raises `MunimentError`s; `where` and
        `versioned` are for their words.
        """
        options = self._options
        tries = 0
        while True:
            tries += 1
            again = tries <= options.retries if method in _READS else repeatable and tries == 1
            try:
                async with asyncio.timeout(options.read_timeout + at_most / options.minimum_rate):
                    status, answered, data = await self._once(
                        method, bucket, key, query or {}, headers or {}, body, at_most
                    )
            except aiohttp.ClientConnectorError as error:  # nothing was sent
                if tries > options.retries:
                    raise unavailable(where, f"{error} (last of several tries)") from error
            except TimeoutError as error:
                raise unavailable(where, "no answer, or not all of it, in time") from error
            except (aiohttp.ClientError, OSError) as error:
                if not again:
                    raise unavailable(where, f"{type(error).__name__}: {error}") from error
            else:
                if status in _WELL:
                    return Answer(answered, data)
                if not (status in _AGAIN and again and method in _READS):
                    refusal = _refusal(method, status, data)
                    raise what_was_said(where, refusal.code, status, refusal.message, versioned=versioned) from refusal
            await asyncio.sleep(0.1 * 2 ** (tries - 1) * (0.5 + random.random()))  # noqa: S311 - jitter, no secret

    async def _once(
        self,
        method: str,
        bucket: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
        at_most: int,
    ) -> tuple[int, Mapping[str, str], bytes | None]:
        url = self._url(bucket, key, query)
        signed = self._signed(method, url, headers, body)
        async with self._opened().request(
            method, URL(url.geturl(), encoded=True), headers=signed, data=_sent(body), allow_redirects=False
        ) as answer:
            length = answer.content_length
            if method == "HEAD":
                return answer.status, answer.headers, b""
            if answer.status in _WELL and length is not None and length > at_most:
                answer.close()  # not a byte of it is wanted
                return answer.status, answer.headers, None
            well = answer.status in _WELL
            data = bytearray()
            async for chunk in answer.content.iter_any():
                data += chunk
                if not well and len(data) > _REFUSAL:
                    answer.close()
                    break
                if well and len(data) > at_most:
                    answer.close()
                    raise aiohttp.ClientPayloadError(f"more than the {at_most} bytes that were announced")
            return answer.status, answer.headers, bytes(data)

    def _url(self, bucket: str, key: str, query: Mapping[str, str]) -> SplitResult:
        told = "&".join(f"{name}={quote(value, safe=_SAFE[1:])}" for name, value in sorted(query.items()))
        return urlsplit(f"{self._base}/{bucket}/{quote(key, safe=_SAFE)}" + (f"?{told}" if told else ""))

    def _signed(self, method: str, url: SplitResult, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        now = utcnow()
        digest = hashlib.sha256(body).hexdigest() if body else _EMPTY
        signed = sign_v4_s3(
            method=method,
            url=url,
            region=self._options.region,
            headers={"Host": self._host, "x-amz-date": to_amz_date(now), "x-amz-content-sha256": digest, **headers},
            credentials=self._credentials,
            content_sha256=digest,
            date=now,
        )
        return {name: str(value) for name, value in signed.items()}

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            options = self._options
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=options.threads, ssl=self._tls or True, keepalive_timeout=30),
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=None, sock_connect=options.connect_timeout, sock_read=options.read_timeout
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
            # A second PUT would be a second version: what may be sent again is decided in `ask`, and there alone.
            self._session._retry_connection = False  # noqa: SLF001 - no public setting; the tests count requests
        return self._session

    async def aclose(self) -> None:
        """Close every connection; what is under way ends as a broken connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _sent(body: bytes) -> bytes | BytesIO | None:
    """Large bodies go out piece by piece, so that the loop turns in between."""
    return BytesIO(body) if len(body) > _PIECE else body or None


def _refusal(method: str, status: int, data: bytes | None) -> RefusedError:
    if method == "HEAD" or not data:
        return RefusedError(_BARE.get(status, "") if method == "HEAD" else "", status, "no details")
    try:
        root = ET.fromstring(data)  # noqa: S314 - the configured store's own answer
    except ET.ParseError:
        return RefusedError("", status, "an answer that is not XML; is a proxy in between?")
    fields = {element.tag.rpartition("}")[2]: element.text or "" for element in root}
    return RefusedError(fields.get("Code", ""), status, fields.get("Message", ""))
