"""The vendor's errors in our words, translated here and nowhere else; the vendor's stays as the cause.

One S3 status means several things, and stores disagree about codes. A deletion that a lock forbids is `AccessDenied` on
SeaweedFS and AWS and `InvalidRequest` on MinIO: both come out of here as `Misconfigured`, and the lock code (locks.py)
looks at the version's retention to tell a lock from a missing right.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final
from xml.etree.ElementTree import ParseError

import urllib3.exceptions
from minio.error import InvalidResponseError, S3Error, ServerError

from muniment.contracts.errors import (
    Misconfigured,
    MunimentError,
    NotFound,
    PreconditionFailed,
    Rejected,
    TooLarge,
)
from muniment.ports.blobs import StoreUnavailable

_NOT_FOUND: Final = {
    "NoSuchKey": "object_not_found",
    "NoSuchVersion": "object_not_found",
    "NoSuchBucket": "bucket_not_found",
    "NoSuchUpload": "upload_not_found",
}
_NO_LOCK: Final = {"ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration"}
# With a 4xx status, yet about the moment or the way here and not about the request.
_PASSING: Final = {
    "BadDigest",
    "IncompleteBody",
    "RequestTimeout",
    "SlowDown",
    "SlowDownRead",
    "SlowDownWrite",
    "XAmzContentSHA256Mismatch",
}
_WRITE_CONFLICT: Final = {"ConditionalRequestConflict", "OperationAborted"}
_CREDENTIALS: Final = {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"}
_PARTS: Final = {"EntityTooSmall", "InvalidPart", "InvalidPartOrder"}
_NAMES: Final = {"InvalidBucketName", "KeyTooLongError", "XMinioInvalidObjectName"}
# What stores say when a version-id is not one they could have given, or is a delete marker's.
_NOT_A_VERSION: Final = {"BadRequest", "InvalidArgument", "MethodNotAllowed"}


class asking:  # noqa: N801 - reads as a word: `with asking("bucket/key"):`
    """Whatever minio-py or urllib3 raises inside leaves as a `MunimentError`. `versioned`: a version-id was named."""

    __slots__ = ("_versioned", "_where")

    def __init__(self, where: str, *, versioned: bool = False) -> None:
        self._where = where
        self._versioned = versioned

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, MunimentError):
            return
        translated = self._translate(error)
        if translated is not None:
            raise translated from error

    def _translate(self, error: BaseException) -> MunimentError | None:
        where = self._where
        if isinstance(error, S3Error):
            return what_was_said(
                where, error.code or "", error.response.status, error.message or "", versioned=self._versioned
            )
        if isinstance(error, ServerError):
            return what_was_said(where, "", error.status_code, "no details", versioned=self._versioned)
        if isinstance(error, InvalidResponseError):
            status = error._code  # noqa: SLF001 - the status is kept nowhere else: an answer that is not XML
            return what_was_said(where, "", status, "an answer that is not XML; is a proxy in between?")
        if isinstance(error, (urllib3.exceptions.HTTPError, OSError)):
            return unavailable(where, _reason(error))
        if isinstance(error, (ParseError, ValueError, LookupError)):  # names were checked: it is the answer
            return unavailable(where, f"unreadable answer: {error}")
        return None


def what_was_said(where: str, code: str, status: int, message: str, *, versioned: bool = False) -> MunimentError:
    """The error that an answer with this code and status is. `versioned`: a version-id was named."""
    said = f"{status} {code}".strip()
    if code in _WRITE_CONFLICT:
        return StoreUnavailable("write_conflict", f"{where}: another write was under way", actual=said)
    if status >= 500 or status in {408, 429} or code in _PASSING:
        return unavailable(where, f"{said}: {message}")
    if code in _NO_LOCK:
        return without_object_lock(where)
    if code in _NOT_FOUND:
        return NotFound(_NOT_FOUND[code], f"{where} does not exist in the store", actual=said)
    if status == 404 or (versioned and code in _NOT_A_VERSION):
        return NotFound("object_not_found", f"{where} does not exist in the store", actual=said)
    if status == 412:
        return PreconditionFailed("precondition_failed", f"{where} is not in the named state", actual=said)
    if status == 413 or code == "EntityTooLarge":
        return TooLarge("object_too_large", f"{where} is larger than the store takes", actual=said)
    if code in _PARTS:
        return Rejected("parts_invalid", f"{where}: {message}", actual=said)
    if code in _NAMES:
        return Rejected("object_key_invalid", f"{where}: the store does not take this name", actual=said)
    if status in {401, 403} or code in _CREDENTIALS:
        return Misconfigured(
            "store_access_denied",
            f"{where}: the store refuses these credentials this operation",
            actual=said,
            hint="check the access key, its policy, and that both clocks are right",
        )
    return Misconfigured("store_refused", f"{where}: the store refuses the request: {message}", actual=said)


def unavailable(where: str, reason: str) -> StoreUnavailable:
    """The store did not answer, or not in full."""
    return StoreUnavailable(
        "store_unavailable",
        f"{where}: the object store did not answer as it should",
        actual=reason,
        hint="it is tried again; check that the store runs and is reachable",
    )


def inconsistent(where: str, *, expected: object, actual: object) -> StoreUnavailable:
    """The store answered for something else than what it was asked for."""
    return StoreUnavailable(
        "store_inconsistent",
        f"{where}: the answer of the object store is for something else",
        expected=expected,
        actual=actual,
    )


def without_object_lock(where: str) -> Misconfigured:
    """The bucket cannot hold retention."""
    return Misconfigured(
        "bucket_without_object_lock",
        f"{where}: the bucket has no object lock",
        expected="object lock enabled when the bucket was made",
        actual="off",
        hint="name a bucket that does not exist yet, or make one with object lock; not every store can add it later",
    )


def without_versioning(where: str, status: str) -> Misconfigured:
    """The bucket keeps one state per key: nothing in it could be pinned."""
    return Misconfigured(
        "bucket_without_versioning",
        f"{where}: the bucket keeps no versions",
        expected="versioning Enabled",
        actual=status,
        hint="enable versioning on the bucket, or name one that does not exist yet",
    )


def _reason(error: BaseException) -> str:
    """The innermost reason, without the pool objects that urllib3 prints around it."""
    if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        return f"{_reason(error.reason)} (last of several tries)"
    return f"{type(error).__name__}: {error}"
