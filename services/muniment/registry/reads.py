"""The registry's answers: models, versions, branches, logs, files. Keyset pages, one or two statements each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg

from muniment.contracts.errors import Conflict, NotFound
from muniment.contracts.ids import ModelName, model_key, model_name
from muniment.contracts.model import rfc3339
from muniment.contracts.reference import BASELINE, Reference, parse_reference
from muniment.ports.blobs import BlobStore, Location
from muniment.ports.clock import Clock
from muniment.registry.store import SQL

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reads:
    """Reads of one registry."""

    pool: asyncpg.Pool[Any]
    blobs: BlobStore
    clock: Clock
    download_expiry_s: int

    async def models(self, after: str, limit: int) -> list[Json]:
        """Models by name, from after the key `after`."""
        rows = await self.pool.fetch(SQL["list_models"], after, limit)
        return [_plain(row) for row in rows]

    async def model(self, name: str) -> Json:
        """One model with its branches (the first hundred). Raises `NotFound` (`model_not_found`)."""
        row = await self._model(model_name(name))
        branches = await self.branches(name, "", 100)
        return {**_plain(row, leave_out=("id", "name_key")), "branches": branches}

    async def branches(self, name: str, after: str, limit: int) -> list[Json]:
        """A model's branches by name."""
        row = await self._model(model_name(name))
        rows = await self.pool.fetch(SQL["branches"], row["id"], after, limit)
        return [_plain(row) for row in rows]

    async def versions(self, name: str, branch: str | None, below: int | None, limit: int) -> list[Json]:
        """A model's versions, newest first, from below the number `below`."""
        row = await self._model(model_name(name))
        if branch is None:
            rows = await self.pool.fetch(SQL["list_versions"], row["id"], below, limit)
        else:
            rows = await self.pool.fetch(SQL["list_versions_of_branch"], row["id"], below, limit, branch)
        return [_version_row(item, row["name"]) for item in rows]

    async def log(self, ref: str, start: int | None, limit: int) -> list[Json]:
        """The line of versions that leads to a reference, newest first; `start` continues at that number."""
        reference = parse_reference(ref)
        row = await self._model(reference.model)
        number = start if start is not None else await self._number(reference, row)
        rows = await self.pool.fetch(SQL["walk_log"], row["id"], number, limit)
        return [_version_row(item, row["name"]) for item in rows]

    async def resolve(self, ref: str) -> tuple[int, int]:
        """(model id, number) of a reference. Raises `NotFound` and `Conflict` (`reference_ambiguous`)."""
        reference = parse_reference(ref)
        row = await self._model(reference.model)
        return row["id"], await self._number(reference, row)

    async def version(self, ref: str) -> Json:
        """A version with its manifest, files and parents."""
        model_id, number = await self.resolve(ref)
        row = await self._version(model_id, number, ref)
        files = await self.pool.fetch(SQL["files"], model_id, number)
        parents = await self.pool.fetch(SQL["parents"], model_id, number)
        answer = _version_row(row, row["model"])
        answer["previous"] = row["previous_id"]
        answer["manifest"] = json.loads(row["manifest"])
        answer["manifest_location"] = {
            "bucket": row["manifest_bucket"],
            "key": row["manifest_key"],
            "version_id": row["manifest_version_id"],
        }
        answer["files"] = [_file(file) for file in files]
        answer["parents"] = [_plain(parent) for parent in parents]
        return answer

    async def manifest(self, ref: str) -> bytes:
        """The canonical manifest: its SHA-256 is the version's id."""
        model_id, number = await self.resolve(ref)
        return bytes((await self._version(model_id, number, ref))["manifest"])

    async def downloads(self, ref: str) -> Json:
        """Presigned GETs by version-id for every file of a version."""
        model_id, number = await self.resolve(ref)
        row = await self._version(model_id, number, ref)
        files = await self.pool.fetch(SQL["files"], model_id, number)
        expires = timedelta(seconds=self.download_expiry_s)
        items = []
        for file in files:
            place = Location(file["bucket"], file["key"], file["version_id"])
            url = await self.blobs.presign_get(place, expires=expires, filename=file["path"].rsplit("/", 1)[-1])
            items.append({**_file(file), "url": url})
        return {
            "id": row["id"],
            "model": row["model"],
            "number": number,
            "expires_at": rfc3339(self.clock.now() + expires),
            "files": items,
        }

    async def _model(self, name: ModelName) -> asyncpg.Record:
        row = await self.pool.fetchrow(SQL["model"], model_key(name))
        if row is None:
            raise NotFound("model_not_found", f"there is no model {name!r}", actual=name, hint="muniment models ls")
        return row

    async def _version(self, model_id: int, number: int, ref: str) -> asyncpg.Record:
        row = await self.pool.fetchrow(SQL["version"], model_id, number)
        if row is None:
            raise NotFound("version_not_found", f"{ref} names no version", actual=ref, hint="muniment versions ls MODEL")
        return row

    async def _number(self, reference: Reference, model: asyncpg.Record) -> int:
        if reference.kind == "number":
            number = int(reference.value)
            if number > model["versions"]:
                raise NotFound(
                    "version_not_found",
                    f"{reference} names no version",
                    expected=f"a number from 1 to {model['versions']}",
                    actual=number,
                )
            return number
        if reference.kind == "digest":
            rows = await self.pool.fetch(SQL["numbers_by_prefix"], model["id"], reference.value)
            if len(rows) > 1:
                raise Conflict("reference_ambiguous", "the prefix fits several versions", actual=reference.value)
            if rows:
                return int(rows[0]["number"])
        elif reference.kind == "name" and reference.value != BASELINE:
            head = await self.pool.fetchval(SQL["head_of_branch"], model["id"], reference.value)
            if head is not None:
                return int(head)
        branches = [row["name"] for row in await self.pool.fetch(SQL["branches"], model["id"], "", 20)]
        raise NotFound(
            "reference_not_found",
            f"{reference} names no version: {_what_is_missing(reference)}",
            expected=f"a branch ({', '.join(branches)}) or a number from 1 to {model['versions']}",
            actual=reference.value,
            hint=f"for example {model['name']}@{branches[0] if branches else 'main'} or {model['name']}/1",
        )


def _what_is_missing(reference: Reference) -> str:
    if reference.kind == "digest":
        return "no version's id begins so"
    if reference.value == BASELINE:
        return "the model has no baseline yet"
    return "there is no such " + ("release" if reference.kind == "release" else "branch or pointer")


def _plain(row: asyncpg.Record, leave_out: Sequence[str] = ()) -> Json:
    return {
        name: rfc3339(value) if name.endswith("_at") and value is not None else value
        for name, value in row.items()
        if name not in leave_out
    }


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
