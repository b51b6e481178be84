"""Object storage as Muniment needs it: versioned buckets, retention on a version-id, conditional writes.

Implementations: `muniment.adapters.minio` (S3) and `muniment.adapters.memory`. Both pass one contract suite,
`muniment.testing.blob_contract`, and so must any other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Protocol

from muniment.ports.blob_values import (
    EDGE,
    MAX_RANGE,
    QUICK,
    Edges,
    HashResult,
    ListCursor,
    ListedUpload,
    ListedVersion,
    Located,
    Location,
    Lock,
    LockMode,
    ObjectLocked,
    ObjectVersion,
    Part,
    PutOnce,
    StoreUnavailable,
    UploadPage,
    VersionPage,
    check_bucket,
    check_key,
)

__all__ = [
    "EDGE",
    "MAX_RANGE",
    "QUICK",
    "BlobReader",
    "BlobStore",
    "Edges",
    "HashResult",
    "ListCursor",
    "ListedUpload",
    "ListedVersion",
    "Located",
    "Location",
    "Lock",
    "LockMode",
    "ObjectLocked",
    "ObjectVersion",
    "Part",
    "Progress",
    "PutOnce",
    "RandomReader",
    "StoreUnavailable",
    "UploadPage",
    "VersionPage",
    "check_bucket",
    "check_key",
]

Progress = Callable[[int], None]
"""Called with the number of bytes read since the last call. Runs in the reading thread: it must be quick."""


class BlobReader(Protocol):
    """The bytes of one version, in order, once. Blocking: for worker threads."""

    @property
    def size(self) -> int:
        """Bytes that will come, as the store states them for this very answer."""
        ...

    def read_chunks(self, chunk_size: int = 1024 * 1024) -> Iterator[bytes]:
        """All bytes in chunks of 1 to `chunk_size`, which is also the most memory held.

        Raises `StoreUnavailable` if the bytes end early, if they come too slowly, or if the reader was cancelled.
        When the iterator ends by itself, exactly `size` bytes have come.
        """
        ...


class RandomReader(Protocol):
    """Any part of one version. Blocking: for worker threads. One thread at a time."""

    @property
    def size(self) -> int:
        """Bytes of the whole version."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` (both >= 0), fewer only where the object ends; at most `MAX_RANGE`."""
        ...


class BlobStore(Protocol):
    """An object store with versions and object lock.

    Promises that every method keeps:

    - *Durable*: what returned has happened and outlives the store's restart. What raised `StoreUnavailable` may or may
      not have happened; every method here may be called again with the same arguments.
    - *By version*: reads name a version-id. An answer for another version than the one asked for is never passed on:
      it is `StoreUnavailable` (`store_inconsistent`).
    - *Three kinds of failure*: `Transient` (ask again), `Rejected` (`NotFound`, `Conflict`, ...: a fact about the
      request), `Misconfigured` (`store_access_denied`, `store_refused`, `lock_refused`, `bucket_without_...`: an
      operator must act). The vendor's error is the cause.
    - *Bounded*: no method holds an object in memory but the ones that take or return its bytes; every call ends within
      the adapter's time-outs. Cancelling a waiting task stops a running read at its next chunk.

    Keys and buckets are checked first (`check_key`, `check_bucket`: `Rejected`).
    """

    async def ensure_bucket(self, bucket: str, *, object_lock: bool) -> None:
        """Make the bucket with versioning (and object lock, if asked for), or check that it has them.

        Raises `Misconfigured`: `bucket_without_object_lock`, `bucket_without_versioning`. Neither can be trusted to be
        right when switched on later, so an existing bucket is never changed.
        """
        ...

    async def stat(self, bucket: str, key: str, version_id: str | None = None) -> ObjectVersion:
        """What the store says of a version; of the latest one if `version_id` is None.

        Raises `NotFound` (`object_not_found`), also for a delete marker, and `bucket_not_found`.
        """
        ...

    def open(
        self, location: Located, *, offset: int = 0, length: int | None = None, cancel: threading.Event | None = None
    ) -> AbstractContextManager[BlobReader]:
        """The version's bytes from `offset`, at most `length`. Nothing is asked of the store before the `with`.

        Blocking, for worker threads. Setting `cancel` ends the read at its next chunk (`read_cancelled`).
        """
        ...

    def random_reader(self, location: Located, *, size: int, edges: Edges | None = None) -> RandomReader:
        """The version for header readers. `size` (and `edges`, if kept) are those of its `HashResult`.

        Reads inside the first or last `EDGE` bytes cost one request at most, and none where `edges` are given.
        """
        ...

    async def read_whole(self, location: Located, *, at_most: int = QUICK) -> bytes | None:
        """All bytes of a small version, in one request; None if there are more than `at_most`."""
        ...

    async def read_range(self, location: Located, *, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`, fewer only where the object ends; at most `MAX_RANGE` (`ValueError`)."""
        ...

    async def hash(
        self,
        location: Located,
        *,
        expected_size: int | None = None,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> HashResult:
        """SHA-256 and size of every byte of exactly this version.

        `expected_size` decides nothing but the way: up to `QUICK` bytes are read in one piece.

        A body that is cut short is `StoreUnavailable`: no digest is given for bytes that the store did not deliver in
        full. A digest other than the expected one may still be damage on the way: read twice before believing it.
        """
        ...

    async def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        lock: Lock | None = None,
    ) -> Location:
        """Store the bytes as a new version, with the lock in the same request. A repetition makes another version."""
        ...

    async def put_once(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        lock: Lock | None = None,
    ) -> PutOnce:
        """Store the bytes if the key holds nothing; of any number of callers at once exactly one creates.

        Same bytes already there: their version, with `lock` put on it as by `lock()`. Other bytes: `Conflict`
        (`object_conflict`). A hidden key (`hide`) holds nothing.
        """
        ...

    async def lock(self, location: Located, lock: Lock) -> Lock:
        """Put retention on exactly this version, and return the lock that now holds, which covers the asked one.

        Never shortens and never weakens: where the existing lock is longer or stricter in one way, the two are joined.
        Raises `Misconfigured`: `bucket_without_object_lock`, `lock_refused` (an end in the store's past, for one).
        """
        ...

    async def retention(self, location: Located) -> Lock | None:
        """The version's lock, past ones included; None if it never had one."""
        ...

    async def copy(self, source: ObjectVersion, bucket: str, key: str) -> Location:
        """Copy a version inside the store, and return what was stored (hash it).

        Every byte is read from `source.version_id` under the condition that its ETag still is `source.etag`: otherwise
        `PreconditionFailed` (`source_changed`). A repetition makes another version. Locks are no part of a copy,
        but some stores carry the source's over: the copy of a locked version may be locked as long.
        """
        ...

    async def hide(self, bucket: str, key: str) -> None:
        """Put a delete marker on the key. Readers that name no version find nothing; every version stays."""
        ...

    async def delete_version(self, location: Located) -> None:
        """Delete exactly this version or delete marker, for good. One that is gone already is no error.

        Raises `ObjectLocked` (`object_locked`) while it is under retention.
        """
        ...

    async def list_versions(
        self, bucket: str, *, prefix: str = "", after: ListCursor | None = None, limit: int = 1000
    ) -> VersionPage:
        """At most `limit` (1 to 1,000) versions and delete markers whose key starts with `prefix`, by key.

        Complete only where no key is the folder of another (`a` and `a/b`): stores lose one of such two in listings.
        """
        ...

    async def presign_put(self, bucket: str, key: str, *, expires: timedelta) -> str:
        """A URL for one HTTP PUT of the whole object, good for `expires` (1 second to 7 days). Asks nobody."""
        ...

    async def presign_get(self, location: Located, *, expires: timedelta, filename: str | None = None) -> str:
        """A URL for GETs of exactly this version; with `filename` the answer says under which name to save it."""
        ...

    async def create_multipart(self, bucket: str, key: str, *, content_type: str = "application/octet-stream") -> str:
        """Begin an upload in parts and return its upload id. Nothing can be read before it is completed."""
        ...

    async def presign_part(self, bucket: str, key: str, upload_id: str, number: int, *, expires: timedelta) -> str:
        """A URL for PUTs of one part; the answer's ETag header is that of the `Part`. Asks nobody."""
        ...

    async def list_parts(self, bucket: str, key: str, upload_id: str) -> tuple[Part, ...]:
        """All parts that have arrived, by number (at most 10,000). Raises `NotFound` (`upload_not_found`)."""
        ...

    async def complete_multipart(self, bucket: str, key: str, upload_id: str, parts: Sequence[Part]) -> Location:
        """Make the parts, in the order of their numbers, one new version.

        Raises `Rejected` (`parts_invalid`) if a part is missing, has another ETag, or is under 5 MiB without being the
        last; `NotFound` (`upload_not_found`) if the upload is aborted, or completed already (some stores then return
        its version again): `stat` tells.
        """
        ...

    async def abort_multipart(self, bucket: str, key: str, upload_id: str) -> None:
        """Give the upload up and free its parts. One that is gone already is no error."""
        ...

    async def list_uploads(
        self, bucket: str, *, prefix: str = "", after: ListCursor | None = None, limit: int = 1000
    ) -> UploadPage:
        """At most `limit` (1 to 1,000) uploads in parts that are under way, of keys that start with `prefix`.

        The order is the store's. Some stores (MinIO) list an upload only where `prefix` is its whole key, and drop
        uploads that nobody goes on with by themselves.
        """
        ...

    async def ping(self, bucket: str) -> None:
        """Ask for the bucket, for readiness: answers within the adapter's short deadline, or raises."""
        ...

    async def aclose(self) -> None:
        """Let running reads end and close all connections."""
        ...
