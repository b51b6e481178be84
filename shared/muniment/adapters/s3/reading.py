"""Reading versions: statements about them, ranges, streams and hashes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final

import urllib3
from minio.error import S3Error

from muniment.adapters.hashing import check_range, hash_reader
from muniment.adapters.s3.connection import S3Connection
from muniment.adapters.s3.errors import asking, inconsistent, unavailable, without_versioning
from muniment.adapters.s3.stretches import STRETCH, StretchReader
from muniment.ports.blobs import (
    HashResult,
    Located,
    Lock,
    LockMode,
    ObjectVersion,
    Progress,
    StoreUnavailable,
    check_bucket,
    check_key,
)

Cancelled = Callable[[], bool]
UNVERSIONED: Final = "null"
"""The version-id of what was stored before the bucket kept versions; such answers may lack the header."""
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def never() -> bool:
    """The read that nobody cancels."""
    return False


class S3Reader:
    """The body of one answer, in order, watched: its length, its pace and its cancellation."""

    def __init__(
        self, response: urllib3.BaseHTTPResponse, size: int, where: str, deadline: float, cancelled: Cancelled
    ) -> None:
        self._response = response
        self._left = size
        self._where = where
        self._deadline = deadline
        self._cancelled = cancelled
        self.size = size

    def read_chunks(self, chunk_size: int = 1024 * 1024) -> Iterator[bytes]:
        """All bytes; see `BlobReader`. `read1` gives what has arrived, so a trickle meets the deadline too."""
        while self._left:
            if self._cancelled():
                raise StoreUnavailable("read_cancelled", f"{self._where}: the read was cancelled")
            if time.monotonic() > self._deadline:
                raise unavailable(self._where, f"too slow: {self._left} of {self.size} bytes had not come in time")
            with asking(self._where):
                data = self._response.read1(min(chunk_size, self._left), decode_content=False)
            if not data:
                raise unavailable(self._where, f"the body ended {self._left} bytes before its stated {self.size}")
            self._left -= len(data)
            yield data


class EmptyReader:
    """No bytes."""

    size = 0

    def read_chunks(self, chunk_size: int = 1024 * 1024) -> Iterator[bytes]:
        """Nothing."""
        return iter(())


class S3Reading:
    """Short reads in the event loop, others blocking, for threads. Every answer must be for the version asked for."""

    def __init__(self, connection: S3Connection) -> None:
        self._connection = connection
        self._exchange = connection.exchange
        self._options = connection.options

    async def stat(self, bucket: str, key: str, version_id: str | None = None) -> ObjectVersion:
        """The headers of a version, or of the latest."""
        where = name(bucket, key, version_id)
        query = {} if version_id is None else {"versionId": version_id}
        answer = await self._exchange.ask("HEAD", bucket, key, where, versioned=version_id is not None, query=query)
        if version_id is not None:
            check_version(where, answer.headers, version_id)
        return version_of(bucket, key, answer.headers)

    async def whole(self, location: Located, at_most: int) -> bytes | None:
        """All bytes of a version in memory; None if there are more than `at_most`."""
        where = name(location.bucket, location.key, location.version_id)
        answer = await self._exchange.ask(
            "GET",
            location.bucket,
            location.key,
            where,
            versioned=True,
            query={"versionId": location.version_id},
            at_most=at_most,
        )
        check_version(where, answer.headers, location.version_id)
        return answer.body

    @contextmanager
    def open(
        self, location: Located, offset: int = 0, length: int | None = None, cancelled: Cancelled = never
    ) -> Iterator[S3Reader | EmptyReader]:
        """The body of a version, or of a range of it."""
        response = None
        if length != 0:
            response = self._get(location.bucket, location.key, location.version_id, offset, length)
        if response is None:  # nothing asked for, or the range begins behind the end
            yield EmptyReader()
            return
        where = name(location.bucket, location.key, location.version_id)
        with _closing(response):
            check_version(where, response.headers, location.version_id)
            size = _body_size(where, response, offset, length)
            yield self._watched(response, size, where, cancelled)

    async def latest_if_size(self, bucket: str, key: str, size: int) -> tuple[ObjectVersion, bytes | None]:
        """The latest version, with its bytes if there are exactly `size` of them: to compare, in one request."""
        answer = await self._exchange.ask("GET", bucket, key, name(bucket, key, None), at_most=size)
        latest = version_of(bucket, key, answer.headers)
        return latest, answer.body if latest.size == size else None

    def read_range(self, location: Located, offset: int, length: int) -> bytes:
        """A range in memory."""
        check_range(offset, length)
        with self.open(location, offset, length) as reader:
            return b"".join(reader.read_chunks())

    def hash(self, location: Located, size: int, progress: Progress | None, cancelled: Cancelled) -> HashResult:
        """Every byte of a version.

        `size`: what the store has stated; more than a stretch is read in stretches.
        """
        if size <= STRETCH:
            with self.open(location, cancelled=cancelled) as reader:
                return hash_reader(reader, progress)
        return hash_reader(StretchReader(size, partial(self._exactly, location, cancelled)), progress)

    @contextmanager
    def _exactly(
        self, location: Located, cancelled: Cancelled, offset: int, length: int
    ) -> Iterator[S3Reader | EmptyReader]:
        with self.open(location, offset, length, cancelled) as reader:
            if reader.size != length:
                where = name(location.bucket, location.key, location.version_id)
                raise inconsistent(where, expected=f"{length} bytes from {offset}", actual=f"{reader.size} bytes")
            yield reader

    def _watched(self, response: urllib3.BaseHTTPResponse, size: int, where: str, cancelled: Cancelled) -> S3Reader:
        allowed = self._options.read_timeout + size / self._options.minimum_rate
        return S3Reader(response, size, where, time.monotonic() + allowed, cancelled)

    def _get(
        self, bucket: str, key: str, version_id: str | None, offset: int, length: int | None
    ) -> urllib3.BaseHTTPResponse | None:
        check_bucket(bucket)
        check_key(key)
        with asking(name(bucket, key, version_id), versioned=version_id is not None):
            try:
                return self._connection.client.get_object(
                    bucket, key, offset=offset, length=length or 0, version_id=version_id
                )
            except S3Error as error:
                if error.code == "InvalidRange":
                    return None
                raise


def name(bucket: str, key: str, version_id: str | None) -> str:
    """A version in messages. Checks both names."""
    return f"{check_bucket(bucket)}/{check_key(key)}" + (f"?versionId={version_id}" if version_id else "")


def version_of(bucket: str, key: str, headers: Mapping[str, str]) -> ObjectVersion:
    """What the headers of a GET or HEAD say. Raises `bucket_without_versioning` if they name no version."""
    version_id = headers.get("x-amz-version-id")
    if not version_id:
        raise without_versioning(f"{bucket}/{key}", "an answer without a version-id")
    modified = headers.get("last-modified")
    with asking(f"{bucket}/{key}"):
        return ObjectVersion(
            bucket,
            key,
            version_id,
            size=int(headers["content-length"]),
            etag=headers.get("etag", "").strip('"'),
            last_modified=parsedate_to_datetime(modified) if modified else _EPOCH,
            lock=_lock_of(headers),
        )


def check_version(where: str, headers: Mapping[str, str], version_id: str) -> None:
    """Refuse an answer for another version than the one asked for: it must not pass as this one."""
    answered = headers.get("x-amz-version-id") or UNVERSIONED
    if answered != version_id:
        raise inconsistent(where, expected=f"version {version_id}", actual=f"version {answered}")


def _lock_of(headers: Mapping[str, str]) -> Lock | None:
    mode, until = headers.get("x-amz-object-lock-mode"), headers.get("x-amz-object-lock-retain-until-date")
    return Lock(lock_mode(mode), datetime.fromisoformat(until)) if mode and until else None


def lock_mode(text: str) -> LockMode:
    """The store's word as ours."""
    return "COMPLIANCE" if text == "COMPLIANCE" else "GOVERNANCE"


def _body_size(where: str, response: urllib3.BaseHTTPResponse, offset: int, length: int | None) -> int:
    """The stated size of the body, which must be that of the range asked for."""
    with asking(where):
        size = int(response.headers["content-length"])
    if offset == 0 and length is None:
        return size
    stated = response.headers.get("content-range", "no range")
    found = _CONTENT_RANGE.fullmatch(stated)
    if response.status == 206 and found:
        first, total = int(found[1]), int(found[2])
        rest = total - offset
        if first == offset and size == (rest if length is None else min(length, rest)):
            return size
    raise inconsistent(where, expected=f"{length or 'all'} bytes from {offset}", actual=f"{stated}, {size} bytes")


@contextmanager
def _closing(response: urllib3.BaseHTTPResponse) -> Iterator[None]:
    """Give the connection back if the body was read to its end, else break it off."""
    try:
        yield
        if response.length_remaining == 0:
            response.drain_conn()
    finally:
        response.close()
        response.release_conn()
