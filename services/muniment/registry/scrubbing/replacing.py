"""Putting good bytes back by hand: a presigned PUT for a damaged file, then the reading of what has arrived."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import asyncpg

from muniment.contracts.errors import Conflict, NotFound, Rejected, TooLarge
from muniment.contracts.events import Cause
from muniment.contracts.identity import Principal
from muniment.contracts.ids import ModelName
from muniment.contracts.model import FilePathField, Payload, Verbatim, Word
from muniment.ports.blobs import BlobStore, Location
from muniment.registry.references import find_version
from muniment.registry.release_reads import file_row, files_of
from muniment.registry.scrubbing.repairs import Repairs
from muniment.registry.store import SCRUBBING

Json = dict[str, Any]
_MAX_PUT: Final = 5 * 1024**3
"""Bytes of one PUT at most (S3)."""


class Replacement(Payload):
    """The damaged file: of a version, or of a release where one is named."""

    ref: Word
    path: FilePathField


class Replaced(Replacement):
    """Good bytes were put; the store gave them this version-id."""

    version_id: Verbatim


@dataclass(frozen=True, slots=True)
class Replacing:
    """The two steps. Uploads go into `bucket`, under the key of their digest."""

    pool: asyncpg.Pool[Any]
    blobs: BlobStore
    repairs: Repairs
    bucket: str
    expiry_s: int

    async def begin(self, model: ModelName, wanted: Replacement) -> Json:
        """Where to put the good bytes. Changes nothing.

        Raises `NotFound` (`file_not_found`), `Conflict` (`file_not_damaged`), `TooLarge` (`file_too_large`).
        """
        file = await self._file(model, wanted)
        if file["damaged_at"] is None:
            raise _not_damaged(wanted)
        if file["size"] > _MAX_PUT:
            raise TooLarge(
                "file_too_large",
                f"{wanted.path} is too large for one upload",
                expected=f"<= {_MAX_PUT} B",
                actual=f"{file['size']} B",
                hint="publish a version that has the file: its bytes then repair this one, too",
            )
        url = await self.blobs.presign_put(self.bucket, _key(file), expires=timedelta(seconds=self.expiry_s))
        return {
            "path": file["path"],
            "sha256": file["sha256"],
            "size": file["size"],
            "held": False,
            "upload": {"kind": "single", "url": url},
        }

    async def complete(self, model: ModelName, wanted: Replaced, by: Principal, cause: Cause) -> Json:
        """Read what was put; where it is right, lock it and let every file with these bytes move there.

        Doing it again answers the same. Raises as `begin`, and `Rejected` (`bytes_damaged`, `bytes_missing`).
        """
        file = await self._file(model, wanted)
        good = Location(self.bucket, _key(file), wanted.version_id)
        place = (file["bucket"], file["key"], file["version_id"])
        if file["damaged_at"] is None and place != (good.bucket, good.key, good.version_id):
            raise _not_damaged(wanted)
        if file["damaged_at"] is not None:
            damage = await self.repairs.committed.look(good, file["sha256"], file["size"])
            if damage is not None:
                raise Rejected(
                    damage.code,
                    f"what was put is not what {wanted.path} was",
                    expected=damage.expected,
                    actual=damage.actual,
                    hint="put the very file that was published; nothing was changed",
                )
            damaged_id = await self.pool.fetchval(SCRUBBING["object_at"], *place)
            await self.repairs.move(damaged_id, good, by, cause)
        return file_row(await self._file(model, wanted))

    async def _file(self, model: ModelName, wanted: Replacement) -> asyncpg.Record:
        row = await find_version(self.pool, wanted.ref)
        if row["model"].lower() != model.lower():
            raise Rejected(
                "reference_elsewhere",
                "the reference names a version of another model",
                expected=f"a version of {model}",
                actual=wanted.ref,
                hint=f"muniment versions ls {model}",
            )
        files = await files_of(self.pool, row)
        for file in files:
            if file["path"] == wanted.path:
                return file
        raise NotFound(
            "file_not_found",
            f"{wanted.ref} has no file {wanted.path}",
            expected=f"one of {', '.join(file['path'] for file in files[:20])}",
            actual=wanted.path,
        )


def _key(file: Any) -> str:
    return f"blobs/sha256/{file['sha256'][:2]}/{file['sha256']}"


def _not_damaged(wanted: Replacement) -> Conflict:
    return Conflict(
        "file_not_damaged",
        f"{wanted.path} of {wanted.ref} is not known to be damaged",
        expected="a damaged file",
        actual="no damage was found at its last reading",
        hint="read it again first: muniment scrub run --model MODEL",
    )
