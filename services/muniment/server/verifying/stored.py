"""The log's files in the object store, and the manifests that its entries speak of."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import IO, Any, Final, Self

from muniment.contracts.errors import MunimentError, NotFound, Rejected, Transient
from muniment.ports.blobs import BlobStore, ListedVersion, Location
from muniment.verifier.entry import CommittedManifest, committed_manifest
from muniment.verifier.errors import Unreadable
from muniment.verifier.note import MAX_NOTE
from muniment.verifier.report import Finding
from muniment.verifier.tiles import CHECKPOINT

_AT_ONCE: Final = 16
_ANSWER_S: Final = 120.0
_MAX_MANIFEST: Final = 64 * 1024 * 1024


@dataclass
class StoredFiles:
    """A log's files in a bucket, for the verifier's thread. Of a tile the first version is the true one.

    A later version with other bytes is a finding: whoever reads without a version-id gets that one.
    """

    blobs: BlobStore
    bucket: str
    loop: asyncio.AbstractEventLoop
    findings: list[Finding] = field(default_factory=list)

    def read(self, path: str, at_most: int) -> bytes | None:
        """See `muniment.verifier.source.Source`."""
        try:
            return asyncio.run_coroutine_threadsafe(self._read(path, at_most), self.loop).result(_ANSWER_S)
        except NotFound:
            return None
        except (MunimentError, TimeoutError) as error:
            if path == CHECKPOINT or not self._gives_others():
                raise Unreadable(f"{self.bucket}/{path}: {error}") from error
            message = f"the store fails to give {path}, and gives other files"
            self.findings.append(Finding(*_place(path), "file_unreadable", message, actual=str(error)))
            return None

    def _gives_others(self) -> bool:
        try:
            return asyncio.run_coroutine_threadsafe(gives(self.blobs, self.bucket), self.loop).result(_ANSWER_S)
        except TimeoutError:
            return False

    async def _read(self, path: str, at_most: int) -> bytes | None:
        if path == CHECKPOINT:
            newest = await self.blobs.stat(self.bucket, path)
            return await self._bytes(newest.version_id, path, at_most)
        versions = await self._versions(path)
        if not versions:
            return None
        first = await self._bytes(versions[-1].version_id, path, at_most)
        for later in versions[:-1]:
            if later.is_delete_marker or await self._bytes(later.version_id, path, at_most) != first:
                self._later(path, later)
                break
        return first

    async def _versions(self, path: str) -> list[ListedVersion]:
        """The versions of one key, newest first, without what hides its beginning."""
        page = await self.blobs.list_versions(self.bucket, prefix=path, limit=1000)
        versions = [one for one in page.items if one.key == path]
        while versions and versions[-1].is_delete_marker:
            versions.pop()
        return versions

    async def _bytes(self, version_id: str, path: str, at_most: int) -> bytes:
        data = await self.blobs.read_whole(Location(self.bucket, path, version_id), at_most=at_most)
        if data is None:
            raise Rejected("file_too_large", f"{path} is larger than such a file can be", expected=f"<= {at_most} B")
        return data

    def _later(self, path: str, later: ListedVersion) -> None:
        what = "a delete marker hides" if later.is_delete_marker else "another version stands before"
        self.findings.append(Finding(*_place(path), "later_version", f"{what} {path}", actual=later.version_id))


def _place(path: str) -> tuple[str, int]:
    """The layer of a tile or bundle, and the first entry that it is about."""
    parts = path.split("/")
    level = 0 if parts[1] == "entries" else int(parts[1])
    number = int("".join(one.removeprefix("x") for one in path.split(".p/")[0].split("/")[2:]))
    return "entries" if parts[1] == "entries" else f"tile/{level}", number * 256 ** (level + 1)


async def gives(blobs: BlobStore, bucket: str) -> bool:
    """Whether the store gives the log's checkpoint: then what it fails to give is damaged, and it is no outage."""
    try:
        newest = await blobs.stat(bucket, CHECKPOINT)
        return await blobs.read_whole(newest, at_most=MAX_NOTE) is not None
    except MunimentError:
        return False


class Manifests:
    """The manifests that entries name, gathered while the log is read, in a file; then looked up in the store."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # reason: closed by __exit__
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def look(self, index: int, data: bytes) -> None:
        """Take an entry."""
        named = committed_manifest(index, data)
        if named is not None:
            self._file.write(json.dumps(asdict(named)).encode() + b"\n")
            self.count += 1

    async def verify(
        self, blobs: BlobStore, bucket: str, progress: Callable[[str, int], None], *, log: str
    ) -> Finding | None:
        """The first manifest that is not there, is another one, or that the store fails to give.

        `bucket`: of entries that name none; `log`: of the log's own files. Raises `Transient` in an outage.
        """
        self._file.seek(0)
        done = 0
        while lines := self._file.readlines(64 * 1024):
            for start in range(0, len(lines), _AT_ONCE):
                named = [CommittedManifest(**json.loads(line)) for line in lines[start : start + _AT_ONCE]]
                found = await asyncio.gather(*(_verify(blobs, bucket, one, log) for one in named))
                done += len(named)
                progress("objects", done)
                first = next((one for one in found if one is not None), None)
                if first is not None:
                    return first
        return None


async def _verify(blobs: BlobStore, bucket: str, named: CommittedManifest, log: str) -> Finding | None:
    """What is wrong with one manifest. It is read twice before it is called damaged."""
    actual: Any = None
    for _ in range(2):
        try:
            actual = await _digest(blobs, named.bucket or bucket, named)
        except Transient as error:
            if not await gives(blobs, log):
                raise
            message = f"the store fails to give the manifest {named.key} in {named.bucket or bucket}, and gives others"
            return Finding("objects", named.index, "object_unreadable", message, f"sha256:{named.sha256}", str(error))
        if actual == named.sha256:
            return None
    message = f"the manifest {named.key} in {named.bucket or bucket} is " + ("missing" if actual is None else "another")
    code = "object_missing" if actual is None else "object_differs"
    return Finding("objects", named.index, code, message, f"sha256:{named.sha256}", actual and f"sha256:{actual}")


async def _digest(blobs: BlobStore, bucket: str, named: CommittedManifest) -> str | None:
    try:
        version_id = named.version_id or (await blobs.stat(bucket, named.key)).version_id
        data = await blobs.read_whole(Location(bucket, named.key, version_id), at_most=_MAX_MANIFEST)
    except NotFound:
        return None
    return None if data is None else hashlib.sha256(data).hexdigest()
