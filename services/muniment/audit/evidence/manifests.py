"""Manifests that entries name, from the object store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from muniment.audit.evidence.records import committed_id
from muniment.audit.evidence.report import COMMITS
from muniment.contracts.errors import NotFound
from muniment.ports.blobs import BlobStore, Location

_MAX_MANIFEST: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Manifests:
    """Reads manifests. `bucket` is where entries mean that name none."""

    blobs: BlobStore
    bucket: str

    async def of(self, entry: Mapping[str, Any]) -> tuple[str, bytes | None] | None:
        """The digest and the bytes of the manifest that an entry committed; None if it committed none.

        The bytes are those of the digest: a manifest that the store has no more, or another one, is given as None.
        Raises `Transient` while the store is away.
        """
        committed = (
            committed_id(entry) if entry["action"] in COMMITS and entry.get("outcome", "done") == "done" else None
        )
        if committed is None:
            return None
        digest = committed.removeprefix("sha256:")
        said = next((one.get("after") for one in entry["changes"] if one["path"] == "manifest"), None)
        place: Mapping[str, Any] = said if isinstance(said, dict) else {}
        bucket = str(place.get("bucket") or self.bucket)
        key = str(place.get("key") or f"manifests/{entry.get('model')}/{digest}.json")
        try:
            version_id = place.get("version_id") or (await self.blobs.stat(bucket, key)).version_id
            data = await self.blobs.read_whole(Location(bucket, key, str(version_id)), at_most=_MAX_MANIFEST)
        except NotFound:
            return digest, None
        right = data is not None and hashlib.sha256(data).hexdigest() == digest
        return digest, data if right else None
