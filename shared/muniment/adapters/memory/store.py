"""The object storage port in memory: for tests and trials. It passes the contract suite that the real stores pass.

What it is not: durable, and safe for several event loops. Presigned URLs have the scheme `memory:` and are used with
`MemoryBlobStore.send`, which answers as a store would over HTTP.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from muniment.adapters.hashing import EdgeReader, check_range, hash_reader
from muniment.adapters.memory.objects import Objects, md5_etag, without_lock
from muniment.adapters.memory.urls import MAX_PARTS, Answer, Grant, UrlSigner
from muniment.contracts.errors import Conflict, MunimentError, NotFound, PreconditionFailed, Rejected
from muniment.ports.blobs import (
    QUICK,
    BlobReader,
    Edges,
    HashResult,
    ListCursor,
    ListedUpload,
    Located,
    Location,
    Lock,
    ObjectLocked,
    ObjectVersion,
    Part,
    Progress,
    PutOnce,
    RandomReader,
    StoreUnavailable,
    UploadPage,
    VersionPage,
    check_bucket,
    check_key,
)
from muniment.ports.clock import Clock, SystemClock

MIN_PART: Final = 5 * 1024 * 1024


@dataclass(slots=True)
class _Upload:
    bucket: str
    key: str
    content_type: str
    initiated: datetime
    parts: dict[int, bytes] = field(default_factory=dict)


class _Reader:
    def __init__(self, data: bytes, cancel: threading.Event | None) -> None:
        self._data = data
        self._cancel = cancel
        self.size = len(data)

    def read_chunks(self, chunk_size: int = 1024 * 1024) -> Iterator[bytes]:
        for start in range(0, len(self._data), chunk_size):
            if self._cancel is not None and self._cancel.is_set():
                raise StoreUnavailable("read_cancelled", "the read was cancelled")
            yield self._data[start : start + chunk_size]


class MemoryBlobStore:
    """A `BlobStore` whose objects live as long as it does. No method waits: each is one step of the event loop."""

    def __init__(self, clock: Clock | None = None) -> None:
        """`clock` decides when locks and presigned URLs run out."""
        self._clock = clock or SystemClock()
        self._signer = UrlSigner(self._clock)
        self._objects = Objects(self._clock)
        self._uploads: dict[str, _Upload] = {}

    async def ensure_bucket(self, bucket: str, *, object_lock: bool) -> None:
        self._objects.ensure(bucket, object_lock=object_lock)

    async def stat(self, bucket: str, key: str, version_id: str | None = None) -> ObjectVersion:
        return self._objects.find(bucket, key, version_id).stated()

    @contextmanager
    def _open(
        self, location: Located, offset: int, length: int | None, cancel: threading.Event | None
    ) -> Iterator[BlobReader]:
        data = self._objects.data(location)
        yield _Reader(data[offset : None if length is None else offset + length], cancel)

    def open(
        self, location: Located, *, offset: int = 0, length: int | None = None, cancel: threading.Event | None = None
    ) -> AbstractContextManager[BlobReader]:
        return self._open(location, offset, length, cancel)

    def random_reader(self, location: Located, *, size: int, edges: Edges | None = None) -> RandomReader:
        return EdgeReader(size, lambda offset, length: self._objects.data(location)[offset : offset + length], edges)

    async def read_range(self, location: Located, *, offset: int, length: int) -> bytes:
        check_range(offset, length)
        return self._objects.data(location)[offset : offset + length]

    async def read_whole(self, location: Located, *, at_most: int = QUICK) -> bytes | None:
        data = self._objects.find(location.bucket, location.key, location.version_id).data or b""
        return data if len(data) <= at_most else None

    async def hash(
        self,
        location: Located,
        *,
        expected_size: int | None = None,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> HashResult:
        with self.open(location, cancel=cancel) as reader:
            return hash_reader(reader, progress)

    async def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        lock: Lock | None = None,
    ) -> Location:
        return self._objects.add(bucket, key, bytes(data), content_type, lock=lock).location

    async def put_once(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        lock: Lock | None = None,
    ) -> PutOnce:
        try:
            existing = self._objects.find(bucket, key, None)
        except NotFound as error:
            if error.code != "object_not_found":
                raise
            return PutOnce(await self.put(bucket, key, data, content_type=content_type, lock=lock), created=True)
        if existing.data != data:
            raise Conflict(
                "object_conflict",
                f"{existing.location} already holds other bytes",
                expected=f"{len(data)} bytes, sha256:{hashlib.sha256(data).hexdigest()}",
                actual=f"{len(existing.data or b'')} bytes",
            )
        if lock is not None:
            await self.lock(existing.location, lock)
        return PutOnce(existing.location, created=False)

    async def lock(self, location: Located, lock: Lock) -> Lock:
        version = self._objects.find(location.bucket, location.key, location.version_id)
        self._objects.check_lock(location.bucket, lock, version.lock)
        version.lock = lock if version.lock is None else version.lock.joined(lock)
        return version.lock

    async def retention(self, location: Located) -> Lock | None:
        version = self._objects.find(location.bucket, location.key, location.version_id)
        if not self._objects.bucket(location.bucket).object_lock:
            raise without_lock(location.bucket)
        return version.lock

    async def copy(self, source: ObjectVersion, bucket: str, key: str) -> Location:
        version = self._objects.find(source.bucket, source.key, source.version_id)
        if version.etag != source.etag:
            raise PreconditionFailed(
                "source_changed",
                f"{source} is no longer what it was",
                expected=f"ETag {source.etag}",
                actual=f"ETag {version.etag}",
            )
        return self._objects.add(bucket, key, version.data, version.content_type, etag=version.etag).location

    async def hide(self, bucket: str, key: str) -> None:
        self._objects.add(bucket, key, None, "", etag="")

    async def delete_version(self, location: Located) -> None:
        versions = self._objects.bucket(location.bucket).keys.get(check_key(location.key), [])
        for version in versions:
            if version.location.version_id == location.version_id:
                if version.lock is not None and version.lock.until > self._clock.now():
                    raise ObjectLocked(
                        "object_locked",
                        f"{version.location} is under retention and cannot be deleted",
                        expected=f"a time after {version.lock.until.isoformat()}",
                        actual=f"{version.lock.mode} lock",
                    )
                versions.remove(version)
                return

    def damage(self, location: Located) -> None:
        """Flip a bit of a version's bytes, lock or not, as a failing disk does: for tests of who notices."""
        version = self._objects.find(location.bucket, location.key, location.version_id)
        data = version.data or b""
        version.data = bytes([data[0] ^ 1]) + data[1:]

    async def list_versions(
        self, bucket: str, *, prefix: str = "", after: ListCursor | None = None, limit: int = 1000
    ) -> VersionPage:
        if not 1 <= limit <= 1000:
            raise ValueError(f"a page holds 1 to 1,000 versions, not {limit}")
        found = []
        for key, versions in sorted(self._objects.bucket(bucket).keys.items(), key=lambda item: item[0].encode()):
            for version in reversed(versions):
                place = (key.encode(), -version.order)
                behind = after is None or place > (after.key.encode(), -int(after.version_id[:16], 16))
                if key.startswith(prefix) and behind:
                    found.append(version.listed(is_latest=version is versions[-1]))
        page = tuple(found[:limit])
        return VersionPage(page, ListCursor(page[-1].key, page[-1].version_id) if len(found) > limit else None)

    async def presign_put(self, bucket: str, key: str, *, expires: timedelta) -> str:
        check_bucket(bucket)
        return self._signer.sign(Grant("PUT", bucket, check_key(key)), expires)

    async def presign_get(self, location: Located, *, expires: timedelta, filename: str | None = None) -> str:
        grant = Grant("GET", location.bucket, location.key, version_id=location.version_id, filename=filename or "")
        return self._signer.sign(grant, expires)

    async def create_multipart(self, bucket: str, key: str, *, content_type: str = "application/octet-stream") -> str:
        self._objects.bucket(bucket)
        upload_id = uuid.uuid4().hex
        self._uploads[upload_id] = _Upload(bucket, check_key(key), content_type, self._clock.now())
        return upload_id

    async def presign_part(self, bucket: str, key: str, upload_id: str, number: int, *, expires: timedelta) -> str:
        if not 1 <= number <= MAX_PARTS:
            raise ValueError(f"parts are numbered 1 to {MAX_PARTS}, not {number}")
        return self._signer.sign(Grant("PUT", bucket, check_key(key), upload_id=upload_id, number=number), expires)

    async def list_parts(self, bucket: str, key: str, upload_id: str) -> tuple[Part, ...]:
        parts = self._upload(bucket, key, upload_id).parts
        return tuple(Part(number, md5_etag(parts[number]), len(parts[number])) for number in sorted(parts))

    async def complete_multipart(self, bucket: str, key: str, upload_id: str, parts: Sequence[Part]) -> Location:
        upload = self._upload(bucket, key, upload_id)
        ordered = sorted(parts, key=lambda part: part.number)
        held = [upload.parts.get(part.number, b"") for part in ordered]
        known = all(
            part.number in upload.parts and md5_etag(upload.parts[part.number]) == part.etag.strip('"')
            for part in ordered
        )
        if not ordered or not known or any(len(data) < MIN_PART for data in held[:-1]):
            raise Rejected("parts_invalid", f"{bucket}/{key}: a part is missing, another one, or under 5 MiB")
        del self._uploads[upload_id]
        etag = md5_etag(b"".join(bytes.fromhex(md5_etag(data)) for data in held))
        version = self._objects.add(bucket, key, b"".join(held), upload.content_type, etag=f"{etag}-{len(held)}")
        return version.location

    async def abort_multipart(self, bucket: str, key: str, upload_id: str) -> None:
        self._uploads.pop(upload_id, None)

    async def list_uploads(
        self, bucket: str, *, prefix: str = "", after: ListCursor | None = None, limit: int = 1000
    ) -> UploadPage:
        if not 1 <= limit <= 1000:
            raise ValueError(f"a page holds 1 to 1,000 uploads, not {limit}")
        self._objects.bucket(bucket)
        found = sorted(
            (upload.key, upload_id, upload.initiated)
            for upload_id, upload in self._uploads.items()
            if upload.bucket == bucket and upload.key.startswith(prefix)
        )
        behind = [one for one in found if after is None or one[:2] > (after.key, after.version_id)]
        page = tuple(ListedUpload(bucket, *one) for one in behind[:limit])
        return UploadPage(page, ListCursor(page[-1].key, page[-1].upload_id) if len(behind) > limit else None)

    async def ping(self, bucket: str) -> None:
        self._objects.bucket(bucket)

    async def aclose(self) -> None:
        self._objects.clear()
        self._uploads.clear()

    async def send(self, method: str, url: str, body: bytes = b"") -> Answer:
        """Use a presigned URL: what an HTTP client would get from a store. Errors come as a status, as there."""
        grant = self._signer.check(method, url)
        if grant is None:
            return Answer(403)
        try:
            if method == "GET":
                return self._answer_get(grant)
            if grant.upload_id:
                self._upload(grant.bucket, grant.key, grant.upload_id).parts[grant.number] = bytes(body)
                return Answer(200, {"etag": f'"{md5_etag(body)}"'})
            version = self._objects.add(grant.bucket, grant.key, bytes(body), "application/octet-stream")
            return Answer(200, {"etag": f'"{version.etag}"', "x-amz-version-id": version.location.version_id})
        except MunimentError as error:
            return Answer(error.http_status)

    def _answer_get(self, grant: Grant) -> Answer:
        version = self._objects.find(grant.bucket, grant.key, grant.version_id)
        headers = {"content-type": version.content_type, "x-amz-version-id": grant.version_id}
        if grant.filename:
            headers["content-type"] = "application/octet-stream"
            headers["content-disposition"] = grant.disposition
        return Answer(200, headers, version.data or b"")

    def _upload(self, bucket: str, key: str, upload_id: str) -> _Upload:
        upload = self._uploads.get(upload_id)
        if upload is None or (upload.bucket, upload.key) != (bucket, key):
            raise NotFound("upload_not_found", f"{bucket}/{key}: no upload {upload_id}")
        return upload
