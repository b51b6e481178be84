"""Writing, hiding and listing objects, and making buckets."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from typing import Final
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from minio.commonconfig import ENABLED
from minio.datatypes import Object
from minio.error import S3Error
from minio.versioningconfig import VersioningConfig

from muniment.adapters.s3.connection import S3Connection
from muniment.adapters.s3.errors import asking, inconsistent, without_object_lock, without_versioning
from muniment.adapters.s3.locks import S3Locks, content_md5, lock_headers, lock_refused
from muniment.adapters.s3.reading import S3Reading, name
from muniment.contracts.errors import Conflict, Misconfigured, NotFound, PreconditionFailed
from muniment.ports.blobs import (
    ListCursor,
    ListedVersion,
    Location,
    Lock,
    ObjectVersion,
    PutOnce,
    StoreUnavailable,
    VersionPage,
    check_bucket,
)

_WRITE_ONCE_TRIES: Final = 6
_FIRST_PAUSE: Final = 0.02
_ENTRIES: Final = {"Version", "DeleteMarker"}
_TAKEN: Final = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}


class S3Objects:
    """Writes, in the event loop; listings and buckets, which block and are for threads."""

    def __init__(self, connection: S3Connection, reading: S3Reading, locks: S3Locks) -> None:
        self._connection = connection
        self._reading = reading
        self._locks = locks

    def ensure_bucket(self, bucket: str, *, object_lock: bool) -> None:
        """Make the bucket, or check it."""
        client = self._connection.client
        with asking(check_bucket(bucket)):
            if not client.bucket_exists(bucket):
                try:
                    client.make_bucket(bucket, object_lock=object_lock)
                    if not object_lock:  # with object lock, versioning is on from the start
                        client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
                except S3Error as error:
                    if error.code not in _TAKEN:  # made by someone else in this moment: check theirs
                        raise
        deadline = time.monotonic() + self._connection.options.settle_timeout
        while (fault := self._bucket_fault(bucket, object_lock=object_lock)) is not None:
            if time.monotonic() > deadline:  # until then someone else may still be making it
                raise fault
            time.sleep(0.1)

    async def put(self, bucket: str, key: str, data: bytes, content_type: str, lock: Lock | None) -> Location:
        """One PUT."""
        return await self._put(bucket, key, data, content_type, lock, {})

    async def put_once(self, bucket: str, key: str, data: bytes, content_type: str, lock: Lock | None) -> PutOnce:
        """Write if nothing is there, else compare; again where the store says that it could not tell (409)."""
        pause = _FIRST_PAUSE
        for attempt in range(1, _WRITE_ONCE_TRIES + 1):
            try:
                location = await self._put(bucket, key, data, content_type, lock, {"If-None-Match": "*"})
                return PutOnce(location, created=True)
            except PreconditionFailed:
                existing = await self._same(bucket, key, data)
            except StoreUnavailable as error:
                if error.code != "write_conflict" or attempt == _WRITE_ONCE_TRIES:
                    raise
                existing = None
            if existing is not None:
                if lock is not None and not (existing.lock and existing.lock.covers(lock)):
                    await self._locks.lock(existing, lock)
                return PutOnce(Location(existing.bucket, existing.key, existing.version_id), created=False)
            await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311 - spreads writers, guards nothing
            pause *= 2
        raise StoreUnavailable("write_conflict", f"{name(bucket, key, None)} came and went while it was written")

    def hide(self, bucket: str, key: str) -> None:
        """A DELETE that names no version."""
        with asking(name(bucket, key, None)):
            self._connection.client.remove_object(bucket, key)

    def list_versions(self, bucket: str, prefix: str, after: ListCursor | None, limit: int) -> VersionPage:
        """One page."""
        if not 1 <= limit <= 1000:
            raise ValueError(f"a page holds 1 to 1,000 versions, not {limit}")
        query = {"versions": "", "prefix": prefix, "max-keys": str(limit), "delimiter": "", "encoding-type": "url"}
        if after is not None:
            query["key-marker"] = after.key
            if after.version_id:
                query["version-id-marker"] = after.version_id
        with asking(check_bucket(bucket)):
            return _page(bucket, self._connection.request("GET", bucket, query=query).data)

    async def _put(
        self, bucket: str, key: str, data: bytes, content_type: str, lock: Lock | None, headers: dict[str, str]
    ) -> Location:
        where = name(bucket, key, None)
        headers |= {"Content-Type": content_type, "Content-MD5": content_md5(data)}
        if lock is not None:
            await self._locks.require_lockable(bucket)
            headers |= lock_headers(lock)
        try:
            answer = await self._connection.exchange.ask(
                "PUT", bucket, key, where, headers=headers, body=data, repeatable="If-None-Match" in headers
            )
        except Misconfigured as refusal:
            if lock is None or refusal.code == "store_access_denied":
                raise
            raise lock_refused(where, lock, None) from refusal
        version_id = answer.headers.get("x-amz-version-id")
        if not version_id:
            raise without_versioning(where, "a write without a version-id")
        return Location(bucket, key, version_id)

    async def _same(self, bucket: str, key: str, data: bytes) -> ObjectVersion | None:
        """The latest version if it holds these bytes; None if it is gone. Raises `object_conflict` after two looks."""
        try:
            version, found = await self._reading.latest_if_size(bucket, key, len(data))
        except NotFound as error:
            if error.code == "object_not_found":
                return None
            raise
        if found == data:
            return version
        if await self._reading.latest_if_size(bucket, key, len(data)) != (version, found):
            raise inconsistent(str(version), expected="the same bytes twice", actual="others")  # damage on the way
        raise Conflict(
            "object_conflict",
            f"{version} already holds other bytes",
            expected=_told(len(data), data),
            actual=_told(version.size, found),
        )

    def _bucket_fault(self, bucket: str, *, object_lock: bool) -> Misconfigured | None:
        with asking(bucket):
            status = self._connection.client.get_bucket_versioning(bucket).status
        if status != ENABLED:
            return without_versioning(bucket, status or "never enabled")
        if object_lock and not self._locks.bucket_has_lock(bucket):
            return without_object_lock(bucket)
        return None


def _told(size: int, data: bytes | None) -> str:
    return f"{size} bytes" if data is None else f"{size} bytes, sha256:{hashlib.sha256(data).hexdigest()}"


def _page(bucket: str, answer: bytes) -> VersionPage:
    """A ListVersionsResult in its own order; minio-py's parser moves the delete markers to the end."""
    root = ET.fromstring(answer)  # noqa: S314 - the configured store's own answer, over a connection we opened
    fields = {_tag(element): element.text or "" for element in root if _tag(element) not in _ENTRIES}
    encoding = fields.get("EncodingType")  # not every store encodes keys when asked to
    items = []
    for element in root:
        if _tag(element) not in _ENTRIES:
            continue
        is_delete_marker = _tag(element) == "DeleteMarker"
        listed = Object.fromxml(element, bucket, is_delete_marker=is_delete_marker, encoding_type=encoding)
        if listed.object_name is None or listed.version_id is None or listed.last_modified is None:
            raise ValueError("a listed version without key, version-id or time")
        items.append(
            ListedVersion(
                bucket,
                listed.object_name,
                listed.version_id,
                size=listed.size or 0,
                etag=listed.etag or "",
                last_modified=listed.last_modified,
                is_latest=(listed.is_latest or "").lower() == "true",
                is_delete_marker=is_delete_marker,
            )
        )
    if fields.get("IsTruncated", "").lower() != "true":
        return VersionPage(tuple(items), None)
    marker = fields["NextKeyMarker"]
    cursor = ListCursor(unquote_plus(marker) if encoding == "url" else marker, fields.get("NextVersionIdMarker", ""))
    return VersionPage(tuple(items), cursor)


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]
