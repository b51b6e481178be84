"""Publications, uploads and held bytes in Postgres. Writes take the connection of an open transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from muniment.contracts.events import ObjectLocation, StagedFile, VersionFile
from muniment.contracts.identity import Author
from muniment.contracts.ids import PublicationId
from muniment.contracts.integrity import IntegrityRestored
from muniment.ingest.domain import Declaration
from muniment.ingest.records import Draft, NewPublication, Publication, Upload
from muniment.ingest.stages import RANK, Advance, Stage
from muniment.runtime.sql import load_queries

if TYPE_CHECKING:
    import asyncpg

    from muniment.runtime.delivery.transaction import Connection

SQL = load_queries("muniment.ingest")
_NEWEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Store:
    """Ingest's tables. Reads take a connection of their own from the pool."""

    pool: asyncpg.Pool[Any]

    # -- publications

    async def insert(self, connection: Connection, new: Sequence[NewPublication], now: datetime) -> set[str]:
        """Record publications (distinct ids); returns the ids that were not there yet, the others are left alone."""
        rows = sorted(new, key=lambda item: item.id)
        declared = [item.declaration.declared for item in rows]
        records = await connection.fetch(
            SQL["insert_publications"],
            [item.id for item in rows],
            [item.event_source for item in rows],
            [item.event_id for item in rows],
            [item.idempotency_key for item in rows],
            [one.model for one in declared],
            [one.branch for one in declared],
            [one.commit for one in declared],
            [one.track for one in declared],
            [item.stage for item in rows],
            [RANK[item.stage] for item in rows],
            [item.author.operator for item in rows],
            [item.author.authenticated_by for item in rows],
            [item.declaration.text for item in rows],
            [item.declaration.sha256 for item in rows],
            [_files_json(item.files) for item in rows],
            [None if item.rejection is None else json.dumps(item.rejection) for item in rows],
            now,
            [item.cause for item in rows],
        )
        return {str(record["id"]) for record in records}

    async def known(self, connection: Connection, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Operator and declaration digest of those publications that are recorded, by id."""
        records = await connection.fetch(SQL["known_publications"], ids)
        return {str(row["id"]): (row["operator"], row["declaration_sha256"]) for row in records}

    async def advance(self, connection: Connection, advances: Sequence[Advance], now: datetime) -> dict[str, Stage]:
        """Bring publications forward (distinct ids); returns the stages of those that changed."""
        records = await connection.fetch(
            SQL["advance"],
            [item.publication_id for item in advances],
            [item.stage for item in advances],
            [RANK[item.stage] for item in advances],
            [item.cause for item in advances],
            [None if item.version is None else json.dumps(item.version) for item in advances],
            [None if item.rejection is None else json.dumps(item.rejection) for item in advances],
            [item.bytes_done for item in advances],
            [item.bytes_total for item in advances],
            now,
        )
        return {str(record["id"]): record["stage"] for record in records}

    async def publication(self, publication_id: str) -> Publication | None:
        """One publication."""
        record = await self.pool.fetchrow(SQL["publication"], publication_id)
        return None if record is None else _publication(record)

    async def draft(self, publication_id: str) -> Draft | None:
        """One publication with its declaration."""
        record = await self.pool.fetchrow(SQL["draft"], publication_id)
        if record is None:
            return None
        return Draft(
            _publication(record),
            Declaration.read(bytes(record["declaration"])),
            tuple(StagedFile.model_validate(file) for file in json.loads(record["files"])),
            tuple(Upload(**upload) for upload in json.loads(record["uploads"])),
        )

    async def page(
        self, *, model: str | None, stage: str | None, before: int | None, limit: int
    ) -> list[tuple[int, Publication]]:
        """Publications of lower position than `before`, newest first, each after its position."""
        before = _NEWEST if before is None else before
        if model is not None and stage is not None:
            records = await self.pool.fetch(SQL["list_of_model_in_stage"], before, limit, model, stage)
        elif model is not None:
            records = await self.pool.fetch(SQL["list_of_model"], before, limit, model)
        elif stage is not None:
            records = await self.pool.fetch(SQL["list_in_stage"], before, limit, stage)
        else:
            records = await self.pool.fetch(SQL["list_all"], before, limit)
        return [(record["position"], _publication(record)) for record in records]

    # -- uploads

    async def insert_uploads(self, connection: Connection, uploads: Sequence[Upload]) -> None:
        """Record what publishers are to upload."""
        await connection.execute(
            SQL["insert_uploads"],
            [item.publication_id for item in uploads],
            [item.sha256 for item in uploads],
            [item.size for item in uploads],
            [item.bucket for item in uploads],
            [item.key for item in uploads],
            [item.part_size for item in uploads],
        )

    async def begin_multipart(self, upload: Upload, upload_id: str) -> bool:
        """Record the store's id of an upload in parts; False if another one was recorded since `upload` was read."""
        return bool(
            await self.pool.fetchval(
                SQL["begin_multipart"], upload.publication_id, upload.sha256, upload.upload_id, upload_id
            )
        )

    async def finish_upload(self, upload: Upload, version_id: str) -> None:
        """Record that the store has the whole object."""
        await self.pool.execute(SQL["finish_upload"], upload.publication_id, upload.sha256, version_id)

    async def accept_upload(
        self, connection: Connection, publication_id: str, files: Sequence[StagedFile], cause: str, now: datetime
    ) -> bool:
        """Make the publication a trained one; False if it was not uploading any more."""
        accepted = await connection.fetchval(
            SQL["accept_upload"], publication_id, "trained", RANK["trained"], _files_json(files), now, cause
        )
        return accepted is not None

    async def abandon(self, connection: Connection, ids: Sequence[str], cause: str, now: datetime) -> dict[str, str]:
        """Abandon those of the publications that are still uploading; returns their models by id."""
        records = await connection.fetch(SQL["abandon"], sorted(ids), RANK["abandoned"], now, cause)
        return {str(record["id"]): record["model"] for record in records}

    async def expired(self, connection: Connection, before: datetime, limit: int) -> list[str]:
        """Locks and returns some publications that have been uploading since before a moment."""
        return [str(record["id"]) for record in await connection.fetch(SQL["expired"], before, limit)]

    async def leftover_uploads(self, limit: int) -> list[Upload]:
        """Uploads in parts that no publication waits for any more."""
        records = await self.pool.fetch(SQL["leftover_uploads"], limit)
        return [Upload(**{**record, "publication_id": str(record["publication_id"])}) for record in records]

    async def delete_upload(self, upload: Upload) -> None:
        """Forget an upload."""
        await self.pool.execute(SQL["delete_upload"], upload.publication_id, upload.sha256)

    # -- the sweep

    async def hold_uploads(self, connection: Connection) -> None:
        """Let nobody begin or complete an upload until the transaction ends. Waits for those who are at it."""
        await connection.execute(SQL["hold_uploads"])

    async def needed(self, connection: Connection | asyncpg.Pool[Any], digests: Collection[str]) -> set[str]:
        """Those of the digests that a publication declares which has not ended."""
        records = await connection.fetch(SQL["needed_digests"], sorted(digests))
        return {record["sha256"] for record in records}

    async def held_versions(self, digests: Collection[str], version_ids: Sequence[str]) -> set[str]:
        """Those of the version-ids, of these digests, that are known to be committed."""
        records = await self.pool.fetch(SQL["held_versions"], sorted(digests), version_ids)
        return {record["version_id"] for record in records}

    # -- held bytes

    async def held(self, digests: Sequence[str]) -> dict[str, ObjectLocation]:
        """Where the bytes of these digests were last known to be, by digest."""
        records = await self.pool.fetch(SQL["held"], digests)
        return {
            row["sha256"]: ObjectLocation(bucket=row["bucket"], key=row["key"], version_id=row["version_id"])
            for row in records
        }

    async def forget_held(self, sha256: str, version_id: str) -> None:
        """They are there no longer."""
        await self.pool.execute(SQL["forget_held"], sha256, version_id)

    async def forget_damaged(self, connection: Connection, places: Sequence[tuple[str, str]]) -> None:
        """They are there (digest, version-id) no longer, or are others."""
        await connection.execute(
            SQL["forget_damaged"], [sha256 for sha256, _ in places], [version_id for _, version_id in places]
        )

    async def hold(self, connection: Connection, files: Sequence[VersionFile | IntegrityRestored]) -> None:
        """Learn where committed bytes are."""
        by_digest = sorted({file.sha256: file for file in files}.values(), key=lambda file: file.sha256)
        await connection.execute(
            SQL["hold"],
            [file.sha256 for file in by_digest],
            [file.size for file in by_digest],
            [file.location.bucket for file in by_digest],
            [file.location.key for file in by_digest],
            [file.location.version_id for file in by_digest],
        )

    async def forget_held_by_rejected(self, connection: Connection, ids: Sequence[str]) -> None:
        """Forget the held bytes that rejected publications relied on."""
        await connection.execute(SQL["forget_held_by_rejected"], ids)


def _files_json(files: Sequence[StagedFile]) -> str:
    return json.dumps([file.model_dump(mode="json", exclude_none=True) for file in files])


def _publication(row: asyncpg.Record) -> Publication:
    return Publication(
        id=PublicationId(str(row["id"])),
        model=row["model"],
        branch=row["branch"],
        commit_mode=row["commit_mode"],
        track=row["track"],
        stage=row["stage"],
        author=Author(row["operator"], row["authenticated_by"]),
        history=json.loads(row["history"]),
        version=_loads(row["version"]),
        rejection=_loads(row["rejection"]),
        bytes_done=row["bytes_done"],
        bytes_total=row["bytes_total"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _loads(text: str | None) -> dict[str, Any] | None:
    return None if text is None else dict(json.loads(text))
