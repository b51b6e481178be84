"""The values and errors of the object storage port (`muniment.ports.blobs`)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Protocol

from muniment.contracts.errors import Conflict, Rejected, Transient

LockMode = Literal["COMPLIANCE", "GOVERNANCE"]

EDGE: Final = 64 * 1024 + 128
"""Bytes at either end of an object that a hash keeps, for header readers. The odd 128: a zip archive's end records
before the longest comment it may have."""
QUICK: Final = 1024 * 1024
"""Bytes up to which an object is read in one piece, in memory."""
MAX_RANGE: Final = 64 * 1024 * 1024
"""The longest range one read may ask for, so that no declared size becomes an allocation."""

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")


class StoreUnavailable(Transient):
    """The store did not answer, or not as it should: time-out, 5xx, a body cut short, another version than asked for.

    Never a statement about the object. Codes: `store_unavailable`, `store_inconsistent`, `read_cancelled`.
    """


class ObjectLocked(Conflict):
    """The version is under retention: it cannot be deleted. Code `object_locked`."""


class Located(Protocol):
    """Whatever names one version of one object; `ObjectLocation` of the contracts does, and so do the types below."""

    @property
    def bucket(self) -> str:
        """The bucket."""
        ...

    @property
    def key(self) -> str:
        """The object's key."""
        ...

    @property
    def version_id(self) -> str:
        """The version-id that the store gave."""
        ...


@dataclass(frozen=True, slots=True)
class Location:
    """One version of one object. The bytes behind it never change: an overwrite gets another version-id."""

    bucket: str
    key: str
    version_id: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}?versionId={self.version_id}"


@dataclass(frozen=True, slots=True)
class Lock:
    """Retention. `until` is kept in UTC and in whole seconds, rounded up: what is stored is never shorter.

    COMPLIANCE: nobody can delete the version or shorten its lock before `until`. GOVERNANCE: a right to bypass exists.
    """

    mode: LockMode
    until: datetime

    def __post_init__(self) -> None:
        if self.until.tzinfo is None:
            raise ValueError("a lock's end needs a time zone")
        until = self.until.astimezone(UTC)
        if until.microsecond:
            until = until.replace(microsecond=0) + timedelta(seconds=1)
        object.__setattr__(self, "until", until)

    def covers(self, other: Lock) -> bool:
        """True if whoever asked for `other` gets at least that from this lock."""
        return self.until >= other.until and (self.mode == "COMPLIANCE" or other.mode == "GOVERNANCE")

    def joined(self, other: Lock) -> Lock:
        """The weakest lock that covers both."""
        mode: LockMode = "COMPLIANCE" if "COMPLIANCE" in (self.mode, other.mode) else "GOVERNANCE"
        return Lock(mode, max(self.until, other.until))


@dataclass(frozen=True, slots=True)
class ObjectVersion(Location):
    """What the store says of one version. `size` is in bytes; the `etag` is a condition for copies, never a digest."""

    size: int
    etag: str
    last_modified: datetime
    lock: Lock | None = None


@dataclass(frozen=True, slots=True)
class Edges:
    """The first and last bytes of an object, at most `EDGE` each (both whole if the object is no longer than that)."""

    head: bytes
    tail: bytes


@dataclass(frozen=True, slots=True)
class HashResult:
    """What reading every byte of a version gave. The edges are of the very bytes that were hashed."""

    sha256: str
    size: int
    edges: Edges = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class PutOnce:
    """Where the bytes are. `created` is False if they already were there, an unanswered earlier try included."""

    location: Location
    created: bool


@dataclass(frozen=True, slots=True)
class Part:
    """One uploaded part of a multipart upload. Numbers run from 1 to 10,000."""

    number: int
    etag: str
    size: int = 0
    """Bytes, where the store has said so; not needed to complete."""


@dataclass(frozen=True, slots=True)
class ListedVersion(Location):
    """One line of a listing. A delete marker has no bytes: it hides the key from readers that name no version."""

    size: int
    etag: str
    last_modified: datetime
    is_latest: bool
    is_delete_marker: bool


@dataclass(frozen=True, slots=True)
class ListCursor:
    """Where the next page of a listing begins. Opaque: stores put their own marks into it."""

    key: str
    version_id: str


@dataclass(frozen=True, slots=True)
class VersionPage:
    """A page of versions and delete markers, by key. `next` is None on the last page."""

    items: tuple[ListedVersion, ...]
    next: ListCursor | None


@dataclass(frozen=True, slots=True)
class ListedUpload:
    """An upload in parts that is neither complete nor given up."""

    bucket: str
    key: str
    upload_id: str
    initiated: datetime


@dataclass(frozen=True, slots=True)
class UploadPage:
    """A page of uploads in the store's own order. `next` is None on the last page; its fields are the store's marks."""

    items: tuple[ListedUpload, ...]
    next: ListCursor | None


def check_bucket(bucket: str) -> str:
    """The bucket's name, or `Rejected` with code `bucket_name_invalid` (the rules of S3: not an IP address either)."""
    if (
        not _BUCKET.fullmatch(bucket)
        or any(pair in bucket for pair in ("..", ".-", "-."))
        or bucket.replace(".", "").isdigit()
        or bucket.startswith("xn--")
        or bucket.endswith(("-s3alias", "--ol-s3"))
    ):
        raise Rejected(
            "bucket_name_invalid",
            "the bucket name is not allowed",
            expected="3 to 63 of a-z, 0-9, '-' and '.'",
            actual=repr(bucket[:80]),
        )
    return bucket


def check_key(key: str) -> str:
    """The key, or `Rejected` with code `object_key_invalid`.

    Only keys that mean the same on every store: some take `a//b` for `a/b`, and file-backed ones keep each part as a
    file name (255 bytes). So: at most 1,024 bytes of UTF-8, parts of 1 to 255 bytes joined by `/`, none of them `.` or
    `..`, no control character, back slash or lone surrogate.
    """
    if (
        not _KEY_FORBIDDEN.search(key)
        and len(key.encode()) <= 1024
        and key.strip()
        and all(part not in {"", ".", ".."} and len(part.encode()) <= 255 for part in key.split("/"))
    ):
        return key
    raise Rejected(
        "object_key_invalid",
        "the object key is not allowed",
        expected="parts of 1 to 255 bytes joined by '/', 1,024 bytes in all, without '.', '..' or control characters",
        actual=repr(key[:200]),
    )
