"""What the store still holds of a version: its manifest, the locks, and where each file's bytes lie.

Bytes are where the last repair of the file has put them. Of a file that was never repaired a release's manifest says
where they are; a version's says only what they are, so they are found by their digest: ingest and validator put each
object under `blobs/sha256/XX/DIGEST`. Where a key has several versions with the right size, the oldest locked one is
taken: all of them held those bytes when they were committed, and any locked one still does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from muniment.contracts.canonical import sha256_hex
from muniment.contracts.errors import Rejected
from muniment.ports.blobs import BlobStore, Location, ObjectVersion

MAX_MANIFEST: Final = 64 * 1024 * 1024
_AT_ONCE: Final = 16
_REMEMBERED: Final = 50_000
_LOOKED_AT: Final = 20
_NEVER: Final = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Stored:
    """An object and its lock. No lock is one that ended long ago."""

    bucket: str
    key: str
    version_id: str
    size: int
    lock_mode: str
    locked_until: datetime


@dataclass(frozen=True, slots=True)
class Kept:
    """A manifest as the store keeps it, and where its files' bytes are, by path. `problems` tells what is missing."""

    text: bytes
    place: Stored | None
    content: Mapping[str, Any]
    bytes_at: Mapping[str, Stored]
    problems: tuple[str, ...]

    @property
    def files(self) -> Sequence[Mapping[str, Any]]:
        """The manifest's files: path, size, sha256, format, role."""
        return self.content.get("files") or ()


@dataclass(frozen=True, slots=True)
class Repaired:
    """What repairs have moved: a holder's files by path, and objects wherever a file refers to them."""

    files: Mapping[str, Location] = field(default_factory=dict)
    objects: Mapping[Location, Location] = field(default_factory=dict)


_NOTHING: Final = Repaired()


@dataclass(slots=True)
class Manifests:
    """Reads manifests from a store, a few at once. `bucket` is the one for entries that name none."""

    blobs: BlobStore
    bucket: str
    _known: dict[tuple[str, str], Stored | None] = field(default_factory=dict)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def read(self, row: Mapping[str, Any], repaired: Repaired = _NOTHING) -> Kept:
        """What is kept of a version or release whose row says `id` and `manifest_bucket`, `_key`, `_version_id`."""
        async with self._slots:
            return await self._read(row, repaired)

    async def _read(self, row: Mapping[str, Any], repaired: Repaired) -> Kept:
        bucket = row["manifest_bucket"] or self.bucket
        place, text = await self._manifest(bucket, row["manifest_key"], row["manifest_version_id"])
        found = f"sha256:{sha256_hex(text)}" if place else "nothing"
        if place is None or found != row["id"]:
            problem = (
                f"the manifest {row['manifest_key']} in {bucket} is not there: expected {row['id']}, found {found}"
            )
            return Kept(b"", place, {}, {}, (problem,))
        content = json.loads(text)
        bytes_at: dict[str, Stored] = {}
        problems: list[str] = []
        for file in content["files"]:
            stored = await self._of_file(bucket, file, repaired)
            if stored is None:
                problems.append(f"the bytes of {file['path']} (sha256:{file['sha256']}) are not in {bucket}")
            else:
                bytes_at[file["path"]] = stored
        return Kept(text, place, content, bytes_at, tuple(problems))

    async def holds(self, place: Location, size: int | None, until: datetime) -> bool:
        """Whether the store holds an object (of this size, if one is given) just there, locked at least until then."""
        try:
            version = await self.blobs.stat(place.bucket, place.key, place.version_id)
        except Rejected:
            return False
        return size in (None, version.size) and version.lock is not None and version.lock.until >= until

    async def _manifest(self, bucket: str, key: str, version_id: str | None) -> tuple[Stored | None, bytes]:
        if version_id is None:  # an entry from before entries told it
            place = await self._find(bucket, key, None)
        else:
            try:
                place = _stored(await self.blobs.stat(bucket, key, version_id))
            except Rejected:
                place = None
        if place is None:
            return None, b""
        text = await self.blobs.read_whole(Location(bucket, key, place.version_id), at_most=MAX_MANIFEST)
        return place, text or b""

    async def _of_file(self, bucket: str, file: Mapping[str, Any], repaired: Repaired) -> Stored | None:
        said = repaired.files.get(file["path"]) or (Location(**file["location"]) if "location" in file else None)
        if said is None:
            found = await self._bytes(bucket, file["sha256"], file["size"])
            if found is None:
                return None
            said = Location(found.bucket, found.key, found.version_id)
            if said not in repaired.objects:
                return found
        while said in repaired.objects:  # each step leads to a later repair
            said = repaired.objects[said]
        try:
            version = await self.blobs.stat(said.bucket, said.key, said.version_id)
        except Rejected:
            return None
        return _stored(version) if version.size == file["size"] else None

    async def _bytes(self, bucket: str, sha256: str, size: int) -> Stored | None:
        known = (bucket, sha256)
        if known not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[known] = await self._find(bucket, f"blobs/sha256/{sha256[:2]}/{sha256}", size)
        return self._known[known]

    async def _find(self, bucket: str, key: str, size: int | None) -> Stored | None:
        page = await self.blobs.list_versions(bucket, prefix=key)
        # A listing has a key's newest version first; turned round, since times may be in whole seconds.
        listed = [
            item
            for item in reversed(page.items)
            if item.key == key and not item.is_delete_marker and size in (None, item.size)
        ]
        first: Stored | None = None
        for item in sorted(listed, key=lambda item: item.last_modified)[:_LOOKED_AT]:
            version = await self.blobs.stat(bucket, key, item.version_id)
            if version.lock is not None:
                return _stored(version)
            first = first or _stored(version)
        return first


def _stored(version: ObjectVersion) -> Stored:
    mode, until = (version.lock.mode, version.lock.until) if version.lock else ("GOVERNANCE", _NEVER)
    return Stored(version.bucket, version.key, version.version_id, version.size, mode, until)
