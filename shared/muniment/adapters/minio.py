"""The object storage port on S3: short requests in the event loop (s3/exchange.py), the rest by minio-py in threads.

Tried against SeaweedFS 4.48 and MinIO 2026-02-12 by the contract suite. What this adds to minio-py: own time-outs and
connection pools, one translation of errors (s3/errors.py), a check that an answer is for the version asked for,
retention that never gets shorter, conditional writes, copies with a source condition, and multipart uploads that
others fill.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

from muniment.adapters.hashing import EdgeReader, hash_bytes
from muniment.adapters.s3.connection import S3Connection
from muniment.adapters.s3.copying import copy
from muniment.adapters.s3.locks import S3Locks
from muniment.adapters.s3.multipart import MAX_PARTS, S3Multipart
from muniment.adapters.s3.objects import S3Objects
from muniment.adapters.s3.options import S3Options
from muniment.adapters.s3.reading import S3Reading, name, never
from muniment.adapters.s3.stretches import STRETCH
from muniment.contracts.errors import NotFound
from muniment.ports.blobs import (
    QUICK,
    BlobReader,
    Edges,
    HashResult,
    ListCursor,
    Located,
    Location,
    Lock,
    ObjectVersion,
    Part,
    Progress,
    PutOnce,
    RandomReader,
    StoreUnavailable,
    UploadPage,
    VersionPage,
    check_bucket,
)
from muniment.ports.timing import Observe, timed, unobserved

__all__ = ["MinioBlobStore", "S3Options"]


P = ParamSpec("P")
T = TypeVar("T")


def _observed(
    call: Callable[Concatenate[MinioBlobStore, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[MinioBlobStore, P], Coroutine[Any, Any, T]]:
    """A call whose time is told under its name."""

    async def observed(self: MinioBlobStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with timed(self.observe, call.__name__):
            return await call(self, *args, **kwargs)

    functools.update_wrapper(observed, call)
    return observed


class MinioBlobStore:
    """A `BlobStore` on any S3 service with versions, object lock and conditional writes.

    The port's docstrings hold; they are not repeated here.
    """

    def __init__(self, options: S3Options, observe: Observe = unobserved) -> None:
        """Opens no connection. Raises `Misconfigured` (`s3_endpoint_invalid`)."""
        self.observe = observe
        self._connection = S3Connection(options)
        self._run = self._connection.run
        self._reading = S3Reading(self._connection)
        self._locks = S3Locks(self._connection)
        self._objects = S3Objects(self._connection, self._reading, self._locks)
        self._multipart = S3Multipart(self._connection)

    async def ensure_bucket(self, bucket: str, *, object_lock: bool) -> None:
        await self._run(self._objects.ensure_bucket, bucket, object_lock=object_lock)

    @_observed
    async def stat(self, bucket: str, key: str, version_id: str | None = None) -> ObjectVersion:
        return await self._reading.stat(bucket, key, version_id)

    def open(
        self, location: Located, *, offset: int = 0, length: int | None = None, cancel: threading.Event | None = None
    ) -> AbstractContextManager[BlobReader]:
        return self._reading.open(location, offset, length, never if cancel is None else cancel.is_set)

    def random_reader(self, location: Located, *, size: int, edges: Edges | None = None) -> RandomReader:
        return EdgeReader(size, lambda offset, length: self._reading.read_range(location, offset, length), edges)

    @_observed
    async def read_whole(self, location: Located, *, at_most: int = QUICK) -> bytes | None:
        return await self._reading.whole(location, at_most)

    @_observed
    async def read_range(self, location: Located, *, offset: int, length: int) -> bytes:
        return await self._run(self._reading.read_range, location, offset, length)

    @_observed
    async def hash(
        self,
        location: Located,
        *,
        expected_size: int | None = None,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> HashResult:
        if expected_size is not None and expected_size <= QUICK:
            data = await self._reading.whole(location, QUICK)
            if data is not None:
                return hash_bytes(data, progress)
        size = 0
        if expected_size is not None and expected_size > STRETCH:
            size = (await self._reading.stat(location.bucket, location.key, location.version_id)).size
        stop = threading.Event()
        cancelled = stop.is_set if cancel is None else lambda: stop.is_set() or cancel.is_set()
        try:
            return await self._connection.run_stream(self._reading.hash, location, size, progress, cancelled)
        finally:
            stop.set()  # a cancelled task leaves its thread behind: this ends it at the next chunk

    @_observed
    async def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        lock: Lock | None = None,
    ) -> Location:
        return await self._objects.put(bucket, key, data, content_type, lock)

    @_observed
    async def put_once(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        lock: Lock | None = None,
    ) -> PutOnce:
        return await self._objects.put_once(bucket, key, data, content_type, lock)

    @_observed
    async def lock(self, location: Located, lock: Lock) -> Lock:
        return await self._locks.lock(location, lock)

    @_observed
    async def retention(self, location: Located) -> Lock | None:
        return await self._run(self._locks.retention, location)

    @_observed
    async def copy(self, source: ObjectVersion, bucket: str, key: str) -> Location:
        return await copy(self._connection, self._multipart, source, bucket, key)

    @_observed
    async def hide(self, bucket: str, key: str) -> None:
        await self._run(self._objects.hide, bucket, key)

    @_observed
    async def delete_version(self, location: Located) -> None:
        await self._run(self._locks.delete_version, location)

    @_observed
    async def list_versions(
        self, bucket: str, *, prefix: str = "", after: ListCursor | None = None, limit: int = 1000
    ) -> VersionPage:
        return await self._run(self._objects.list_versions, bucket, prefix, after, limit)

    async def presign_put(self, bucket: str, key: str, *, expires: timedelta) -> str:
        return self._presign("PUT", bucket, key, expires, {})

    async def presign_get(self, location: Located, *, expires: timedelta, filename: str | None = None) -> str:
        query = {"versionId": location.version_id}
        if filename is not None:
            # RFC 6266. The type is set with it, so that no browser shows a stored file as a page of the store's origin.
            query["response-content-disposition"] = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
            query["response-content-type"] = "application/octet-stream"
        return self._presign("GET", location.bucket, location.key, expires, query)

    @_observed
    async def create_multipart(self, bucket: str, key: str, *, content_type: str = "application/octet-stream") -> str:
        return await self._run(self._multipart.create, bucket, key, content_type)

    async def presign_part(self, bucket: str, key: str, upload_id: str, number: int, *, expires: timedelta) -> str:
        if not 1 <= number <= MAX_PARTS:
            raise ValueError(f"parts are numbered 1 to {MAX_PARTS}, not {number}")
        return self._presign("PUT", bucket, key, expires, {"partNumber": str(number), "uploadId": upload_id})

    @_observed
    async def list_parts(self, bucket: str, key: str, upload_id: str) -> tuple[Part, ...]:
        return await self._run(self._multipart.list_parts, bucket, key, upload_id)

    @_observed
    async def complete_multipart(self, bucket: str, key: str, upload_id: str, parts: Sequence[Part]) -> Location:
        return await self._run(self._multipart.complete, bucket, key, upload_id, parts)

    async def abort_multipart(self, bucket: str, key: str, upload_id: str) -> None:
        await self._run(self._multipart.abort, bucket, key, upload_id)

    @_observed
    async def list_uploads(
        self, bucket: str, *, prefix: str = "", after: ListCursor | None = None, limit: int = 1000
    ) -> UploadPage:
        return await self._run(self._multipart.list_uploads, bucket, prefix, after, limit)

    async def ping(self, bucket: str) -> None:
        limit = self._connection.options.ping_timeout
        try:
            async with asyncio.timeout(limit):
                exists = await self._run(self._connection.probe, check_bucket(bucket))
        except TimeoutError as error:
            raise StoreUnavailable("store_unavailable", f"{bucket}: no answer within {limit} s") from error
        if not exists:
            raise NotFound("bucket_not_found", f"the bucket {bucket} does not exist in the store")

    async def aclose(self) -> None:
        await self._connection.aclose()

    def _presign(self, method: str, bucket: str, key: str, expires: timedelta, query: Mapping[str, str]) -> str:
        name(bucket, key, None)
        url: str = self._connection.signer.get_presigned_url(
            method, bucket, key, expires=expires, extra_query_params=dict(query)
        )
        return url
