"""The registry's answers: models, versions, branches, logs, files. Keyset pages, one or two statements each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from muniment.contracts.ids import model_name
from muniment.contracts.model import rfc3339
from muniment.contracts.reference import parse_reference
from muniment.ports.blobs import BlobStore, Location
from muniment.ports.clock import Clock
from muniment.registry.candidate_states import STATES, State
from muniment.registry.deleting import bytes_gone, deletion_of
from muniment.registry.domain import stability_of
from muniment.registry.names import plain
from muniment.registry.references import find_model, find_number, find_version
from muniment.registry.release_reads import file_row, files_of, manifest_of, release_part
from muniment.registry.reproductions import reproductions_of
from muniment.registry.scrubbing.rules import damaged_among, version_damaged
from muniment.registry.signature_reads import signature_of
from muniment.registry.store import LINEAGE, SQL
from muniment.runtime.http.pages import Page

if TYPE_CHECKING:
    from muniment.registry.references import Source

Json = dict[str, Any]
_AFTER_ALL: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Reads:
    """Reads of one registry."""

    pool: asyncpg.Pool[Any]
    blobs: BlobStore
    clock: Clock
    download_expiry_s: int

    async def models(self, page: Page) -> Json:
        """Models by name."""
        (after,) = page.after(str) or ("",)
        rows = await self.pool.fetch(SQL["list_models"], after, page.fetch)
        return page.answer(rows, item=_model_row, key=lambda row: (row["name_key"],))

    async def model(self, name: str) -> Json:
        """One model with its branches (the first hundred). Raises `NotFound` (`model_not_found`)."""
        row = await find_model(self.pool, model_name(name))
        branches = await self.pool.fetch(SQL["branches"], row["id"], "", 100)
        return {**_model_row(row), "branches": [plain(branch) for branch in branches]}

    async def versions(self, name: str, branch: str | None, page: Page, at: datetime | None = None) -> Json:
        """A model's versions, newest first; as they were at a moment if one is given (`deleted` is always of now)."""
        (below,) = page.after(int) or (None,)
        model = await find_model(self.pool, model_name(name))
        if at is not None:  # begin where the model ended then, and not where it ends now
            last = await self.pool.fetchval(SQL["last_number_then"], model["id"], at) or 0
            below = min(below or last + 1, last + 1)
        if branch is None:
            rows = await self.pool.fetch(SQL["list_versions"], model["id"], below, page.fetch, at)
        else:
            rows = await self.pool.fetch(SQL["list_versions_of_branch"], model["id"], below, page.fetch, at, branch)
        answer = page.answer(rows, item=lambda row: _version_row(row, model["name"]), key=lambda row: (row["number"],))
        if at is not None:
            await _back_to(self.pool, model["id"], answer["items"], at)
        return await self._with_deletions(answer, model["id"])

    async def log(self, ref: str, page: Page, at: datetime | None = None) -> Json:
        """The line of versions that leads to a reference, newest first."""
        reference = parse_reference(ref)
        model = await find_model(self.pool, reference.model)
        (last,) = page.after(int) or (None,)
        if last is None:
            start: int | None = await find_number(self.pool, reference, model, at)
        else:
            start = await self.pool.fetchval(SQL["previous_number"], model["id"], last)
        rows = [] if start is None else await self.pool.fetch(SQL["walk_log"], model["id"], start, page.fetch)
        answer = page.answer(rows, item=lambda row: _version_row(row, model["name"]), key=lambda row: (row["number"],))
        if at is not None:
            await _back_to(self.pool, model["id"], answer["items"], at)
        return await self._with_deletions(answer, model["id"])

    async def _with_deletions(self, answer: Json, model_id: int) -> Json:
        """The page with `deleted` on versions that are: lists show them, marked."""
        numbers = [item["number"] for item in answer["items"]]
        buried = {row["number"]: row for row in await self.pool.fetch(LINEAGE["deleted_among"], model_id, numbers)}
        for item in answer["items"]:
            if item["number"] in buried:
                item["deleted"] = plain(deletion_of(buried[item["number"]]) or {})
        return answer

    async def candidates(self, state: State | None, model: str | None, page: Page) -> Json:
        """Candidates, newest first."""
        (below,) = page.after(int) or (_AFTER_ALL,)
        states = [state] if state else list(STATES)
        if model is None:
            rows = await self.pool.fetch(SQL["candidates"], below, states, page.fetch)
        else:
            rows = await self.pool.fetch(SQL["candidates_of_model"], below, states, page.fetch, model)
        return page.answer(rows, item=_candidate, key=lambda row: (row["seq"],))

    async def version(self, ref: str, at: datetime | None = None) -> Json:
        """A version with its manifest, files and parents: what the reference names now, or named at a moment.

        Where a release is named: its own `release` and files. Description, tags and stability are of the moment, too;
        `deleted`, `signature` and `reproduced_by` tell of now.
        """
        # One connection for all: each that goes back to the pool costs a round trip to reset it.
        async with self.pool.acquire(timeout=30) as connection:
            row = await find_version(connection, ref, at)
            model_id, number = row["model_id"], row["number"]
            files = await files_of(connection, row)
            manifest = json.loads(row["manifest"])
            parents = await connection.fetch(SQL["parents"], model_id, number) if manifest.get("parents") else []
            reproductions = await reproductions_of(connection, row)
            signature = await signature_of(connection, row)
            answer = _version_row(row, row["model"])
            if at is not None:
                await _back_to(connection, model_id, [answer], at)
        answer["previous"] = row["previous_id"]
        if (deletion := deletion_of(row)) is not None:
            answer["deleted"] = plain(deletion)
        answer["manifest"] = manifest
        answer["manifest_location"] = {
            "bucket": row["manifest_bucket"],
            "key": row["manifest_key"],
            "version_id": row["manifest_version_id"],
        }
        answer |= reproductions
        answer["signature"] = signature
        answer["release"] = release_part(row)
        answer["files"] = [file_row(file) for file in files]
        answer["parents"] = [dict(parent) for parent in parents]
        return answer

    async def version_by_id(self, version_id: str) -> Json:
        """The version with this id."""
        row = (await self.pool.fetch(SQL["versions_by_id"], [version_id]))[0]
        return await self.version(f"{row['model']}/{row['number']}")

    async def manifest(self, ref: str) -> bytes:
        """The canonical manifest: its SHA-256 is the version's id, or the release's where one is named."""
        async with self.pool.acquire(timeout=30) as connection:
            return manifest_of(await find_version(connection, ref))

    async def downloads(self, ref: str, *, force: bool = False) -> Json:
        """Presigned GETs by version-id for every file of a version, or of a release where one is named.

        Raises `Gone` (`version_deleted`), where a release outlives its source; `Conflict` (`version_damaged`) where a
        file's bytes are damaged, unless `force`.
        """
        async with self.pool.acquire(timeout=30) as connection:
            row = await find_version(connection, ref)
            if row["deleted_at"] is not None and row["release"] is None:
                raise bytes_gone(row)
            files = await files_of(connection, row)
        if (damaged := damaged_among(files)) and not force:
            name = f"@{row['release']}" if row["release"] else f"/{row['number']}"
            raise version_damaged(f"{row['model']}{name}", damaged)
        expires = timedelta(seconds=self.download_expiry_s)
        items = []
        for file in files:
            place = Location(file["bucket"], file["key"], file["version_id"])
            url = await self.blobs.presign_get(place, expires=expires, filename=file["path"].rsplit("/", 1)[-1])
            items.append({**file_row(file), "url": url})
        return {
            "id": row["id"],
            "model": row["model"],
            "number": row["number"],
            "release": release_part(row),
            "expires_at": rfc3339(self.clock.now() + expires),
            "files": items,
        }


async def _back_to(source: Source, model_id: int, versions: list[Json], at: datetime) -> None:
    """Give versions of a model the description, tags and stability that they had at a moment."""
    rows = await source.fetch(SQL["states_then"], model_id, [version["number"] for version in versions], at)
    states = {row["number"]: row for row in rows}
    for version in versions:
        then = states[version["number"]]
        if then["texts"] is not None:
            version |= json.loads(then["texts"])
        version["stability"] = "stable" if then["stable"] else stability_of(version["branch"])


def _model_row(row: asyncpg.Record) -> Json:
    hidden = {"id", "name_key"}
    return {name: _json(value) for name, value in row.items() if name not in hidden}


def _candidate(row: asyncpg.Record) -> Json:
    publication = json.loads(row["publication"])
    facts = publication["facts"]
    return {
        "publication": str(row["publication_id"]),
        "model": row["model"],
        "state": row["state"],
        "operator": row["operator"],
        "branch": publication.get("branch", "main"),
        "track": publication.get("track"),
        "description": publication.get("description"),
        "tags": publication.get("tags", {}),
        "run_id": facts.get("run_id"),
        "experiment_id": facts.get("experiment_id"),
        "metrics": facts.get("metrics", {}),
        "file_count": len(publication["files"]),
        "size": sum(file["size"] for file in publication["files"]),
        "validated_at": rfc3339(row["validated_at"]),
        "decided_at": _json(row["decided_at"]),
        "decided_by": row["decided_by"],
        "reason": row["reason"],
        "version": row["version_id"],
    }


def _json(value: Any) -> Any:
    return rfc3339(value) if isinstance(value, datetime) else value


def _version_row(row: asyncpg.Record, model: str) -> Json:
    return {
        "id": row["id"],
        "model": model,
        "number": row["number"],
        "branch": row["branch"],
        "previous_number": row["previous_number"],
        "stability": row["stability"],
        "track": row["track"],
        "operator": row["operator"],
        "committed_at": rfc3339(row["committed_at"]),
        "size": row["size_bytes"],
        "file_count": row["file_count"],
        "description": row["description"],
        "tags": json.loads(row["tags"]),
        "publication": str(row["publication_id"]),
    }
