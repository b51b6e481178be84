"""What lies in a bucket and may be needed by nothing: how it is found in listings, told in the log, and deleted.

A removal leaves two entries, so that none is without one, whenever the process dies: `leftovers.condemned` is durable
before the first deletion and names what is about to go; `leftovers.swept` names what went.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeVar

from muniment.contracts.events import Cause, Change
from muniment.contracts.identity import Principal
from muniment.contracts.ids import Sha256
from muniment.contracts.model import rfc3339
from muniment.ports.blobs import BlobStore, ListedUpload, ListedVersion, Location
from muniment.runtime.delivery.transaction import Tx

CONDEMNED: Final = "leftovers.condemned"
SWEPT: Final = "leftovers.swept"
BATCH: Final = 50
"""Deleted between two entries, and named in each."""
_AT_ONCE: Final = 16
T = TypeVar("T")
DigestOf = Callable[[str], Sha256 | None]
"""Whose key it is that names a digest; None for any other key."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A version of an object, or an upload in parts; `id` is its version-id or upload id, `size` in bytes."""

    kind: Literal["object", "upload"]
    bucket: str
    key: str
    id: str
    sha256: str
    size: int
    since: datetime

    @property
    def place(self) -> Location:
        """Where the version of the object is."""
        return Location(self.bucket, self.key, self.id)

    def fields(self) -> dict[str, Any]:
        """As JSON."""
        place = {"bucket": self.bucket, "key": self.key, "id": self.id}
        return {"kind": self.kind, **place, "size": self.size, "since": rfc3339(self.since)}


def digests_below(prefix: str) -> DigestOf:
    """Keys `PREFIX` + two digits of a SHA-256 + `/` + the SHA-256."""
    key_of = re.compile(rf"{re.escape(prefix)}([0-9a-f]{{2}})/(\1[0-9a-f]{{62}})")

    def digest_of(key: str) -> Sha256 | None:
        found = key_of.fullmatch(key)
        return Sha256(found[2]) if found else None

    return digest_of


def of_objects(listed: Iterable[ListedVersion], before: datetime, digest_of: DigestOf) -> list[Leftover]:
    """Versions under a digest's key that were stored before a moment. Delete markers are somebody else's."""
    return [
        Leftover("object", one.bucket, one.key, one.version_id, sha256, one.size, one.last_modified)
        for one in listed
        if not one.is_delete_marker and one.last_modified < before and (sha256 := digest_of(one.key)) is not None
    ]


def of_uploads(listed: Iterable[ListedUpload], before: datetime, digest_of: DigestOf) -> list[Leftover]:
    """Uploads in parts to a digest's key that began before a moment. How many bytes they hold is not told: 0."""
    return [
        Leftover("upload", one.bucket, one.key, one.upload_id, sha256, 0, one.initiated)
        for one in listed
        if one.initiated < before and (sha256 := digest_of(one.key)) is not None
    ]


def digest(leftovers: Iterable[Leftover]) -> str:
    """SHA-256 over a line `bucket key id` for each, sorted: the same for what a dry run tells and what goes then."""
    lines = sorted(f"{one.bucket} {one.key} {one.id}\n" for one in leftovers)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def tell(tx: Tx, action: str, leftovers: Sequence[Leftover], by: Principal, cause: Cause) -> None:
    """Ask for the entry (`CONDEMNED`, `SWEPT`) about some leftovers, at most `BATCH`."""
    tx.audit(
        action=action,
        resource=f"leftovers/{digest(leftovers)}",
        operator=by.operator,
        authenticated_by=by.authenticated_by,
        cause=cause,
        changes=[Change(path=f"{one.bucket}/{one.key}", before=one.fields()) for one in leftovers],
    )


async def delete(blobs: BlobStore, one: Leftover) -> None:
    """Delete it; nothing happens where it is gone. Raises `ObjectLocked`."""
    if one.kind == "upload":
        await blobs.abort_multipart(one.bucket, one.key, one.id)
    else:
        await blobs.delete_version(one.place)


async def each(asked: Iterable[Awaitable[T]]) -> list[T | BaseException]:
    """All answers in order, some at once; an error is an answer, so that no question outlives this."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(question: Awaitable[T]) -> T:
        async with places:
            return await question

    return await asyncio.gather(*(one(question) for question in asked), return_exceptions=True)


def raise_first(answers: Iterable[object], *, but: type[BaseException] | tuple[type[BaseException], ...] = ()) -> None:
    """Raise the first error among answers that is none of `but`."""
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, but):
            raise answer
