"""What the in-memory store holds: buckets, keys, versions, and how they are found and added."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from datetime import datetime

from muniment.contracts.errors import Misconfigured, NotFound
from muniment.ports.blobs import ListedVersion, Located, Location, Lock, ObjectVersion, check_bucket, check_key
from muniment.ports.clock import Clock


@dataclass(slots=True)
class Version:
    """One version; without `data` a delete marker."""

    location: Location
    order: int
    data: bytes | None
    etag: str
    content_type: str
    last_modified: datetime
    lock: Lock | None = None

    def stated(self) -> ObjectVersion:
        """As `stat` tells it."""
        return ObjectVersion(
            self.location.bucket,
            self.location.key,
            self.location.version_id,
            size=len(self.data or b""),
            etag=self.etag,
            last_modified=self.last_modified,
            lock=self.lock,
        )

    def listed(self, *, is_latest: bool) -> ListedVersion:
        """As a listing tells it."""
        return ListedVersion(
            self.location.bucket,
            self.location.key,
            self.location.version_id,
            size=len(self.data or b""),
            etag=self.etag,
            last_modified=self.last_modified,
            is_latest=is_latest,
            is_delete_marker=self.data is None,
        )


@dataclass(slots=True)
class Bucket:
    """The versions of each key, newest last."""

    object_lock: bool
    keys: dict[str, list[Version]] = field(default_factory=dict)


class Objects:
    """All buckets of one store."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._count = 0

    def ensure(self, bucket: str, *, object_lock: bool) -> None:
        """Make the bucket, or check it."""
        existing = self._buckets.setdefault(check_bucket(bucket), Bucket(object_lock))
        if object_lock and not existing.object_lock:
            raise without_lock(bucket)

    def bucket(self, bucket: str) -> Bucket:
        """The bucket, or `bucket_not_found`."""
        found = self._buckets.get(check_bucket(bucket))
        if found is None:
            raise NotFound("bucket_not_found", f"the bucket {bucket} does not exist in the store")
        return found

    def find(self, bucket: str, key: str, version_id: str | None) -> Version:
        """A version that has bytes: the named one, or the latest if that is not a delete marker."""
        versions = self.bucket(bucket).keys.get(check_key(key), [])
        named = versions[-1:] if version_id is None else [v for v in versions if v.location.version_id == version_id]
        if not named or named[0].data is None:
            where = f"{bucket}/{key}" + (f"?versionId={version_id}" if version_id else "")
            raise NotFound("object_not_found", f"{where} does not exist in the store")
        return named[0]

    def data(self, location: Located) -> bytes:
        """The bytes of a version."""
        return self.find(location.bucket, location.key, location.version_id).data or b""

    def add(
        self,
        bucket: str,
        key: str,
        data: bytes | None,
        content_type: str,
        *,
        etag: str | None = None,
        lock: Lock | None = None,
    ) -> Version:
        """A new version, the latest of its key."""
        versions = self.bucket(bucket).keys.setdefault(check_key(key), [])
        if lock is not None:
            self.check_lock(bucket, lock, None)
        self._count += 1
        version = Version(
            # The order in front lets a listing go on behind a version that is gone by then.
            Location(bucket, key, f"{self._count:016x}{uuid.uuid4().hex[16:]}"),
            self._count,
            data,
            md5_etag(data or b"") if etag is None else etag,
            content_type,
            self._clock.now().replace(microsecond=0),
            lock,
        )
        versions.append(version)
        return version

    def check_lock(self, bucket: str, lock: Lock, existing: Lock | None) -> None:
        """Raise what a store answers to a lock that it cannot give."""
        if not self.bucket(bucket).object_lock:
            raise without_lock(bucket)
        if lock.until <= self._clock.now() and not (existing and existing.covers(lock)):
            raise Misconfigured(
                "lock_refused",
                f"{bucket}: the store refuses the retention",
                expected="an end in the store's future",
                actual=lock.until.isoformat(),
            )

    def clear(self) -> None:
        """Forget everything."""
        self._buckets.clear()


def md5_etag(data: bytes) -> str:
    """An ETag as S3 makes it: for conditions only."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def without_lock(bucket: str) -> Misconfigured:
    """The bucket cannot hold retention."""
    return Misconfigured(
        "bucket_without_object_lock",
        f"{bucket}: the bucket has no object lock",
        expected="object lock enabled when the bucket was made",
        actual="off",
    )
