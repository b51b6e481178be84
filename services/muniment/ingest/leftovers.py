"""What in a listing may be a leftover, by its key and age alone. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from muniment.contracts.model import rfc3339
from muniment.ingest.slots import digest_of
from muniment.ports.blobs import ListedUpload, ListedVersion


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

    def fields(self) -> dict[str, Any]:
        """As JSON."""
        place = {"bucket": self.bucket, "key": self.key, "id": self.id}
        return {"kind": self.kind, **place, "size": self.size, "since": rfc3339(self.since)}


def of_objects(listed: Iterable[ListedVersion], before: datetime) -> list[Leftover]:
    """Versions under an upload key that were stored before a moment. Delete markers are somebody else's."""
    return [
        Leftover("object", one.bucket, one.key, one.version_id, sha256, one.size, one.last_modified)
        for one in listed
        if not one.is_delete_marker and one.last_modified < before and (sha256 := digest_of(one.key)) is not None
    ]


def of_uploads(listed: Iterable[ListedUpload], before: datetime) -> list[Leftover]:
    """Uploads in parts to an upload key that began before a moment. How many bytes they hold is not told: 0."""
    return [
        Leftover("upload", one.bucket, one.key, one.upload_id, sha256, 0, one.initiated)
        for one in listed
        if one.initiated < before and (sha256 := digest_of(one.key)) is not None
    ]
