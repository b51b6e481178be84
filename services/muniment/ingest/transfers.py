"""One object on its way from a publisher to the store: its URLs, its parts, its arrival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from muniment.contracts.errors import Conflict, NotFound, Rejected
from muniment.contracts.events import ObjectLocation
from muniment.ingest.domain import check_size
from muniment.ingest.files import FileFinder
from muniment.ingest.records import Upload
from muniment.ingest.slots import parts_of
from muniment.ingest.store import Store
from muniment.ports.blobs import BlobStore, Part
from muniment.runtime.stop_point import reached


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a publisher says of an uploaded file: the version-id of its PUT, or the parts it has put."""

    version_id: str | None = None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Transfers:
    """Uploads as the store sees them. All of it may be repeated after a crash."""

    blobs: BlobStore
    files: FileFinder
    store: Store
    expires: timedelta

    async def slot(self, upload: Upload) -> dict[str, Any] | None:
        """Where to put the object, with fresh URLs; None if the store has it all.

        Raises `Conflict` (`publication_closed`) if the publication was closed meanwhile.
        """
        if upload.version_id is not None:
            return None
        if upload.part_size is None:
            url = await self.blobs.presign_put(upload.bucket, upload.key, expires=self.expires)
            return {"kind": "single", "method": "PUT", "url": url, "headers": {}}
        arrived: dict[int, Part] = {}
        if upload.upload_id is None:
            upload_id = await self._begin(upload)
        else:
            try:
                parts = await self.blobs.list_parts(upload.bucket, upload.key, upload.upload_id)
                arrived = {part.number: part for part in parts}
                upload_id = upload.upload_id
            except NotFound:
                if await self._completed_before(upload) is not None:
                    return None
                upload_id = await self._begin(upload)
        return {
            "kind": "multipart",
            "upload_id": upload_id,
            "part_size": upload.part_size,
            "parts": [
                {
                    "number": number,
                    "url": await self.blobs.presign_part(
                        upload.bucket, upload.key, upload_id, number, expires=self.expires
                    ),
                    "done": number in arrived,
                    "etag": arrived[number].etag if number in arrived else None,
                }
                for number in range(1, parts_of(upload.size, upload.part_size) + 1)
            ],
        }

    async def arrived(self, upload: Upload, path: str, said: Arrival) -> ObjectLocation:
        """Where the object lies, pinned to its version-id. `path` is the file it is for, to be named in errors.

        Raises `Conflict` (`upload_missing`) while it is not all there, `Rejected` (`size_mismatch`, `parts_invalid`).
        """
        if upload.version_id is not None:
            return ObjectLocation(bucket=upload.bucket, key=upload.key, version_id=upload.version_id)
        if upload.part_size is not None:
            return await self._joined(upload, path, said.parts)
        return await self._pinned(upload, path, said.version_id)

    async def free(self, upload: Upload) -> None:
        """Give up an upload that no publication waits for, and the parts that the store keeps of it."""
        if upload.upload_id is not None and upload.version_id is None:
            await self.blobs.abort_multipart(upload.bucket, upload.key, upload.upload_id)
        await self.store.delete_upload(upload)

    async def _begin(self, upload: Upload) -> str:
        upload_id = await self.blobs.create_multipart(upload.bucket, upload.key)
        if await self.store.begin_multipart(upload, upload_id):
            return upload_id
        # Another request began one at the same time, or closed the publication.
        await self.blobs.abort_multipart(upload.bucket, upload.key, upload_id)
        draft = await self.store.draft(upload.publication_id)
        for current in draft.uploads if draft is not None else ():
            if current.sha256 == upload.sha256 and current.upload_id is not None:
                return current.upload_id
        raise Conflict("publication_closed", "the publication takes no uploads any more", actual=upload.publication_id)

    async def _joined(self, upload: Upload, path: str, said: Sequence[Part]) -> ObjectLocation:
        """Make the parts one object, and remember that it is one before anything else can fail."""
        if upload.upload_id is None:
            raise _missing(upload, path)
        try:
            parts = said or await self.blobs.list_parts(upload.bucket, upload.key, upload.upload_id)
            multipart = (upload.bucket, upload.key, upload.upload_id, parts)
            joined = await self.blobs.complete_multipart(*multipart) if parts else None
        except NotFound as error:
            if (before := await self._completed_before(upload)) is not None:
                return before
            raise _missing(upload, path) from error
        except Rejected as error:
            raise Rejected(
                error.code,
                f"{path}: {error.message}",
                expected=error.expected,
                actual=error.actual,
                hint="GET the publication's slots to see which parts have arrived",
            ) from error
        if joined is None:
            raise _missing(upload, path)
        reached("ingest.parts-joined")
        location = await self._pinned(upload, path, joined.version_id)
        await self.store.finish_upload(upload, location.version_id)
        return location

    async def _completed_before(self, upload: Upload) -> ObjectLocation | None:
        """The object of an upload in parts that the store no longer knows, if it was joined and then forgotten."""
        try:
            found = await self.files.stat(upload.bucket, upload.key, None)
        except NotFound:
            return None
        if found.size != upload.size:
            return None
        await self.store.finish_upload(upload, found.version_id)
        return ObjectLocation(bucket=upload.bucket, key=upload.key, version_id=found.version_id)

    async def _pinned(self, upload: Upload, path: str, version_id: str | None) -> ObjectLocation:
        try:
            found = await self.files.stat(upload.bucket, upload.key, version_id)
        except NotFound as error:
            raise _missing(upload, path) from error
        check_size(upload.size, found.size, f"the upload of {path}")
        return ObjectLocation(bucket=found.bucket, key=found.key, version_id=found.version_id)


def _missing(upload: Upload, path: str) -> Conflict:
    return Conflict(
        "upload_missing",
        f"the bytes of {path} are not in the store",
        expected=f"{upload.size} B",
        actual="nothing",
        hint="GET the publication's slots for fresh URLs, upload, and complete again",
    )
