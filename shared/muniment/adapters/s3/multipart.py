"""Uploads in parts: by clients through presigned URLs, and of the store's own bytes when a large object is copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

from minio.commonconfig import CopySource
from minio.datatypes import ListPartsResult
from minio.time import from_iso8601utc

from muniment.adapters.s3.connection import S3Connection
from muniment.adapters.s3.errors import asking, unavailable, without_versioning
from muniment.adapters.s3.reading import name
from muniment.contracts.errors import NotFound, PreconditionFailed, Rejected
from muniment.ports.blobs import (
    ListCursor,
    ListedUpload,
    Location,
    ObjectVersion,
    Part,
    UploadPage,
    check_bucket,
)

MAX_PARTS: Final = 10_000


class S3Multipart:
    """Blocking calls about uploads and copies. minio-py offers uploads in parts only for data it sends itself."""

    def __init__(self, connection: S3Connection) -> None:
        self._connection = connection

    def create(self, bucket: str, key: str, content_type: str) -> str:
        """Begin an upload; its id."""
        where = name(bucket, key, None)
        with asking(where):
            answer = self._connection.request(
                "POST", bucket, key, headers={"Content-Type": content_type}, query={"uploads": ""}
            )
            return _text(ET.fromstring(answer.data), "UploadId")  # noqa: S314 - the configured store's own answer

    def list_parts(self, bucket: str, key: str, upload_id: str) -> tuple[Part, ...]:
        """All parts that arrived, page after page."""
        where = name(bucket, key, None)
        parts: list[Part] = []
        query = {"uploadId": upload_id, "max-parts": "1000"}
        while len(parts) < MAX_PARTS:
            with asking(where):
                page = ListPartsResult(self._connection.request("GET", bucket, key, query=query))
            parts += [Part(part.part_number, part.etag, part.size or 0) for part in page.parts]
            if not page.is_truncated or not page.parts:
                break
            query["part-number-marker"] = str(parts[-1].number)
        return tuple(sorted(parts, key=lambda part: part.number))

    def complete(self, bucket: str, key: str, upload_id: str, parts: Sequence[Part]) -> Location:
        """Make the parts one version."""
        where = name(bucket, key, None)
        if not parts:
            raise Rejected(
                "parts_invalid", f"{where}: an upload without parts cannot be completed", expected="1 or more parts"
            )
        root = ET.Element("CompleteMultipartUpload")
        for part in sorted(parts, key=lambda part: part.number):
            element = ET.SubElement(root, "Part")
            ET.SubElement(element, "PartNumber").text = str(part.number)
            ET.SubElement(element, "ETag").text = f'"{part.etag.strip(chr(34))}"'
        with asking(where):
            answer = self._connection.request(
                "POST",
                bucket,
                key,
                body=ET.tostring(root),
                headers={"Content-Type": "application/xml"},
                query={"uploadId": upload_id},
            )
            _check_late_error(where, answer.data)
        version_id = answer.headers.get("x-amz-version-id")
        if not version_id:
            raise without_versioning(where, "a write without a version-id")
        return Location(bucket, key, version_id)

    def abort(self, bucket: str, key: str, upload_id: str) -> None:
        """Free the parts."""
        try:
            with asking(name(bucket, key, None)):
                self._connection.request("DELETE", bucket, key, query={"uploadId": upload_id})
        except NotFound as error:
            if error.code != "upload_not_found":
                raise

    def list_uploads(self, bucket: str, prefix: str, after: ListCursor | None, limit: int) -> UploadPage:
        """One page of the uploads under way. The marks of the page before go back as the store gave them."""
        if not 1 <= limit <= 1000:
            raise ValueError(f"a page holds 1 to 1,000 uploads, not {limit}")
        # Without encoding-type: SeaweedFS says then that it encodes keys, and does not. Our keys are all fit for XML.
        query = {"uploads": "", "prefix": prefix, "max-uploads": str(limit), "delimiter": ""}
        if after is not None:
            marks = {"key-marker": after.key, "upload-id-marker": after.version_id}
            query |= {name: mark for name, mark in marks.items() if mark}  # SeaweedFS gives, and takes, the id alone
        with asking(check_bucket(bucket)):
            answer = self._connection.request("GET", bucket, query=query).data
            return _uploads(bucket, ET.fromstring(answer))  # noqa: S314 - the configured store's own answer

    async def copy_whole(self, source: ObjectVersion, bucket: str, key: str) -> str:
        """Copy within one request, in the event loop; the new version-id."""
        where = name(bucket, key, None)
        headers = {**_source(source).gen_copy_headers(), "Content-Type": "application/octet-stream"}
        try:
            answer = await self._connection.exchange.ask(
                "PUT", bucket, key, f"{source}", versioned=True, headers=headers
            )
        except PreconditionFailed as error:
            raise _changed(source) from error
        with asking(where):
            _check_late_error(where, answer.body or b"")
        version_id = answer.headers.get("x-amz-version-id")
        if not version_id:
            raise without_versioning(where, "a copy without a version-id")
        return version_id

    def copy_part(
        self, source: ObjectVersion, bucket: str, key: str, upload_id: str, number: int, offset: int, length: int
    ) -> Part:
        """Make a range of the source a part of an upload."""
        where = name(bucket, key, None)
        headers = {
            **_source(source).gen_copy_headers(),
            "x-amz-copy-source-range": f"bytes={offset}-{offset + length - 1}",
        }
        try:
            with asking(f"{source}", versioned=True):
                answer = self._connection.request(
                    "PUT", bucket, key, headers=headers, query={"partNumber": str(number), "uploadId": upload_id}
                )
                root = _check_late_error(where, answer.data)
                return Part(number, _text(root, "ETag").strip('"'), length)
        except PreconditionFailed as error:
            raise _changed(source) from error


def _source(source: ObjectVersion) -> CopySource:
    name(source.bucket, source.key, source.version_id)
    return CopySource(source.bucket, source.key, version_id=source.version_id, match_etag=source.etag)


def _changed(source: ObjectVersion) -> PreconditionFailed:
    return PreconditionFailed(
        "source_changed",
        f"{source} is no longer what it was",
        expected=f"ETag {source.etag}",
        actual="another ETag",
        hint="read the source again and start over",
    )


def _check_late_error(where: str, answer: bytes) -> ET.Element:
    """S3 may begin an answer with 200 and end it with an error: the body tells. Nothing was stored then."""
    root = ET.fromstring(answer)  # noqa: S314 - the configured store's own answer
    if root.tag.rpartition("}")[2] == "Error":
        raise unavailable(where, f"{_text(root, 'Code')}: {_text(root, 'Message')}")
    return root


def _uploads(bucket: str, root: ET.Element) -> UploadPage:
    items = []
    for upload in root.findall("{*}Upload"):
        initiated = from_iso8601utc(_text(upload, "Initiated"))
        if initiated is None:
            raise ValueError("a listed upload without the time it began at")
        items.append(ListedUpload(bucket, _text(upload, "Key"), _text(upload, "UploadId"), initiated))
    if root.findtext("{*}IsTruncated", "").lower() != "true":
        return UploadPage(tuple(items), None)
    marks = (root.findtext("{*}NextKeyMarker") or "", root.findtext("{*}NextUploadIdMarker") or "")
    if not any(marks):
        raise ValueError("a page of uploads says that there are more, and not from where on")
    return UploadPage(tuple(items), ListCursor(*marks))


def _text(root: ET.Element, tag: str) -> str:
    found = root.find(f"{{*}}{tag}")
    if found is None or not found.text:
        raise ValueError(f"no {tag} in the answer")
    return found.text
