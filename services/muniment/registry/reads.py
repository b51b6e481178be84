"""The registry's answers: models, versions, branches, logs, files. Keyset pages, one or two statements each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from muniment.contracts.ids import model_name
from muniment.contracts.model import rfc3339
from muniment.contracts.reference import parse_reference
from muniment.ports.blobs import BlobStore, Location
from muniment.ports.clock import Clock
from muniment.registry.names import plain
from muniment.registry.references import find_model, find_number, find_version
from muniment.registry.reproductions import reproductions_of
from muniment.registry.store import SQL
from muniment.runtime.http.pages import Page

Json = dict[str, Any]


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
        """A model's versions, newest first; as they were at a moment if one is given."""
        (below,) = page.after(int) or (None,)
        model = await find_model(self.pool, model_name(name))
        if branch is None:
            rows = await self.pool.fetch(SQL["list_versions"], model["id"], below, page.fetch, at)
        else:
            rows = await self.pool.fetch(SQL["list_versions_of_branch"], model["id"], below, page.fetch, at, branch)
        return page.answer(rows, item=lambda row: _version_row(row, model["name"]), key=lambda row: (row["number"],))

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
        return page.answer(rows, item=lambda row: _version_row(row, model["name"]), key=lambda row: (row["number"],))

    async def candidates(self, state: str | None, model: str | None, page: Page) -> Json:
        """Candidates, newest first."""
        (below,) = page.after(int) or (None,)
        rows = await self.pool.fetch(SQL["candidates"], below, state, model, page.fetch)
        return page.answer(rows, item=_candidate, key=lambda row: (row["seq"],))

    async def version(self, ref: str, at: datetime | None = None) -> Json:
        """A version with its manifest, files and parents: what the reference names now, or named at a moment."""
        # One connection for all: each that goes back to the pool costs a round trip to reset it.
        async with self.pool.acquire(timeout=30) as connection:
            row = await find_version(connection, ref, at)
            model_id, number = row["model_id"], row["number"]
            files = await connection.fetch(SQL["files"], model_id, number)
            manifest = json.loads(row["manifest"])
            parents = await connection.fetch(SQL["parents"], model_id, number) if manifest.get("parents") else []
            reproductions = await reproductions_of(connection, row)
        answer = _version_row(row, row["model"])
        answer["previous"] = row["previous_id"]
        answer["manifest"] = manifest
        answer["manifest_location"] = {
            "bucket": row["manifest_bucket"],
            "key": row["manifest_key"],
            "version_id": row["manifest_version_id"],
        }
        answer |= reproductions
        answer["files"] = [_file(file) for file in files]
        answer["parents"] = [dict(parent) for parent in parents]
        return answer

    async def version_by_id(self, version_id: str) -> Json:
        """The version with this id."""
        row = (await self.pool.fetch(SQL["versions_by_id"], [version_id]))[0]
        return await self.version(f"{row['model']}/{row['number']}")

    async def manifest(self, ref: str) -> bytes:
        """The canonical manifest: its SHA-256 is the version's id."""
        async with self.pool.acquire(timeout=30) as connection:
            return bytes((await find_version(connection, ref))["manifest"])

    async def downloads(self, ref: str) -> Json:
        """Presigned GETs by version-id for every file of a version."""
        async with self.pool.acquire(timeout=30) as connection:
            row = await find_version(connection, ref)
            files = await connection.fetch(SQL["files"], row["model_id"], row["number"])
        expires = timedelta(seconds=self.download_expiry_s)
        items = []
        for file in files:
            place = Location(file["bucket"], file["key"], file["version_id"])
            url = await self.blobs.presign_get(place, expires=expires, filename=file["path"].rsplit("/", 1)[-1])
            items.append({**_file(file), "url": url})
        return {
            "id": row["id"],
            "model": row["model"],
            "number": row["number"],
            "expires_at": rfc3339(self.clock.now() + expires),
            "files": items,
        }


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


def _file(row: asyncpg.Record) -> Json:
    return {
        "path": row["path"],
        "sha256": row["sha256"],
        "size": row["size"],
        "format": row["format"],
        "role": row["role"],
        "location": {"bucket": row["bucket"], "key": row["key"], "version_id": row["version_id"]},
        "lock": {"mode": row["lock_mode"], "until": rfc3339(row["locked_until"])},
    }
