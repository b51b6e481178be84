"""A model's history as rows of a fresh database. SQL in `sql/rebuilding.sql`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from muniment.contracts.errors import Conflict
from muniment.contracts.ids import ModelName, model_key
from muniment.registry.rebuilding.history import History, Row
from muniment.registry.rebuilding.manifests import Kept, Manifests, Repaired, Stored
from muniment.runtime.sql import load_queries

SQL = load_queries("muniment.registry", "rebuilding")

_BATCH: Final = 50
"""Versions whose manifests (some MiB each at most) are in memory at once, and in one statement."""
_ROWS: Final = 5000
"""Rows of one statement."""
_NEVER: Final = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes models into an empty registry, over one connection in one transaction."""

    connection: asyncpg.Connection[asyncpg.Record]
    manifests: Manifests

    async def prepare(self, tracks: Sequence[tuple[str, str, int]]) -> None:
        """Make sure that nothing is overwritten. Tracks (name, lock mode, seconds) are settings, not history.

        Raises `Conflict` (`database_not_empty`).
        """
        found = await self.connection.fetchval(SQL["first_model"])
        if found is not None:
            raise Conflict(
                "database_not_empty",
                "the registry is rebuilt into a fresh database only",
                expected="no model",
                actual=f"the model {found!r}",
                hint="create another database: createdb muniment_rebuilt",
            )
        await self.connection.execute(SQL["later"])
        for track in tracks:
            await self.connection.execute(SQL["put_track"], *track)

    async def write(self, history: History) -> list[str]:
        """Write one model; returns what the store lacks."""
        if history.created is None:
            return []
        created = history.created
        key, last = model_key(ModelName(history.name)), max(history.versions, default=0)
        model_id = await self.connection.fetchval(
            SQL["insert_model"], key, history.name, created.at, created.operator, last
        )
        problems: list[str] = []
        numbers_left = sorted(history.versions)
        while numbers_left:
            numbers, numbers_left = numbers_left[:_BATCH], numbers_left[_BATCH:]
            kept = await asyncio.gather(
                *(
                    self.manifests.read(history.versions[number], _repaired(history, f"versions/{number}"))
                    for number in numbers
                )
            )
            rows = [_version(number, history.versions[number], one) for number, one in zip(numbers, kept, strict=True)]
            await self._insert("versions", model_id, rows)
            await self._insert("files", model_id, _files(numbers, kept))
            await self._insert("parents_later", model_id, _parents(numbers, kept))
            problems += [
                f"{history.name}/{number}: {problem}"
                for number, one in zip(numbers, kept, strict=True)
                for problem in one.problems
            ]
        await self._write_names(model_id, history)
        problems += await self._write_releases(model_id, history)
        return problems

    async def put_aside(self, points: Sequence[tuple[str, Sequence[str | None]]]) -> None:
        """Keep measurements (batch, cells) until their batch is there: a model's may be too many for the memory."""
        if points:
            batches = [batch for batch, _ in points]
            cells = [list(column) for column in zip(*(row for _, row in points), strict=True)]
            await self.connection.execute(SQL["insert_measurements_later"], batches, *cells)

    async def write_edges(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write edges of runs elsewhere."""
        for start in range(0, len(rows), _ROWS):
            text = json.dumps(rows[start : start + _ROWS], default=_json)
            await self.connection.execute(SQL["insert_edges"], text)

    async def finish(self) -> None:
        """Write what refers to other models' versions, now that all are there, and what follows from manifests."""
        for statement in ("parents", "reproductions", "measurements", "datasets", "code"):
            await self.connection.execute(SQL[f"insert_{statement}"])

    async def _write_names(self, model_id: int, history: History) -> None:
        branches = [{"name": name, **row} for name, row in history.branches.items() if row["head_number"] is not None]
        await self._insert("branches", model_id, branches)
        await self._insert("branch_moves", model_id, history.branch_moves)
        await self._insert("pointers", model_id, [{"name": name, **row} for name, row in history.pointers.items()])
        await self._insert("pointer_moves", model_id, history.pointer_moves)
        await self._insert("tombstones", model_id, [{"number": n, **row} for n, row in history.tombstones.items()])
        again = [{"number": number, **row} for number, row in history.reproductions.items()]
        await self._insert("reproductions_later", model_id, again)
        await self._insert("approvals", model_id, history.approvals)
        await self._insert("checks", model_id, history.checks)
        await self._insert("deployments", model_id, history.deployments)
        await self._insert("batches", model_id, history.batches)
        await self._insert("units", model_id, [{"metric": m, "unit": unit} for m, unit in history.units.items()])
        await self._insert("signatures", model_id, history.signatures)
        if history.contract is not None:
            await self._insert("contract", model_id, [history.contract])

    async def _write_releases(self, model_id: int, history: History) -> list[str]:
        problems: list[str] = []
        for semver, row in history.releases.items():
            kept = await self.manifests.read(row, _repaired(history, f"releases/{semver}"))
            problems += [f"{history.name}@{semver}: {problem}" for problem in kept.problems]
            await self._insert("releases", model_id, [{"semver": semver, **row, **_manifest(kept)}])
            files = [{"semver": semver, **file} for file in _files([row["number"]], [kept])]
            await self._insert("release_files", model_id, files)
        return problems

    async def _insert(self, what: str, model_id: int, rows: Sequence[Row]) -> None:
        """Rows as one JSON document: its columns are named, and each gets the type of the table's."""
        for start in range(0, len(rows), _ROWS):
            text = json.dumps(rows[start : start + _ROWS], default=_json)
            await self.connection.execute(SQL[f"insert_{what}"], model_id, text)


def _repaired(history: History, holder: str) -> Repaired:
    return Repaired(history.repaired.get(holder, {}), history.replaced)


def _version(number: int, row: Row, kept: Kept) -> Row:
    size, count = sum(file["size"] for file in kept.files), len(kept.files)
    whole = {**row, **_manifest(kept)}
    return {**whole, "number": number, "size_bytes": size, "file_count": count}


def _manifest(kept: Kept) -> Row:
    place = kept.place or Stored("", "", "", 0, "", _NEVER)
    return {
        "manifest": f"\\x{kept.text.hex()}",
        "manifest_bucket": place.bucket,
        "manifest_key": place.key,
        "manifest_version_id": place.version_id,
        "manifest_locked_until": place.locked_until,
    }


def _files(numbers: Sequence[int], kept: Sequence[Kept]) -> list[Row]:
    return [
        {
            "number": number,
            "path": file["path"],
            "format": file["format"],
            "role": file["role"],
            "sha256": file["sha256"],
            **_object(one.bytes_at[file["path"]]),
        }
        for number, one in zip(numbers, kept, strict=True)
        for file in one.files
        if file["path"] in one.bytes_at
    ]


def _object(stored: Stored) -> Row:
    return {
        "bucket": stored.bucket,
        "key": stored.key,
        "version_id": stored.version_id,
        "size": stored.size,
        "lock_mode": stored.lock_mode,
        "locked_until": stored.locked_until,
    }


def _parents(numbers: Sequence[int], kept: Sequence[Kept]) -> list[Row]:
    return [
        {"number": number, "parent_id": parent["id"], "kind": parent["kind"]}
        for number, one in zip(numbers, kept, strict=True)
        for parent in one.content.get("parents", ())
    ]


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"no column holds a {type(value).__name__}")
