"""What is asked of releases: the list, one of them, and a release's own part in the answer to a reference."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from muniment.contracts.errors import NotFound, Rejected
from muniment.contracts.ids import model_name
from muniment.contracts.model import rfc3339
from muniment.contracts.semver import parse_semver
from muniment.registry.references import find_model
from muniment.registry.scrubbing.rules import damage_json
from muniment.registry.store import RELEASES, SQL
from muniment.runtime.http.pages import Page, PageTokenInvalid

if TYPE_CHECKING:
    from muniment.registry.references import Source

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReleaseReads:
    """Reads of releases."""

    pool: asyncpg.Pool[Any]

    async def list(self, name: str, page: Page) -> Json:
        """A model's releases, highest first."""
        (below,) = page.after(str) or (None,)
        try:
            key = None if below is None else parse_semver(below).precedence
        except Rejected as error:
            raise PageTokenInvalid from error
        model = await find_model(self.pool, model_name(name))
        rows = await self.pool.fetch(RELEASES["list_releases"], model["id"], key, page.fetch)
        return page.answer(rows, item=lambda row: _release(row, model["name"]), key=lambda row: (row["semver"],))

    async def show(self, name: str, text: str) -> Json:
        """One release with its manifest and files.

        Raises `Rejected` (`semver_invalid`) and `NotFound` (`model_not_found`, `release_not_found`).
        """
        semver = parse_semver(text)
        async with self.pool.acquire(timeout=30) as connection:
            model = await find_model(connection, model_name(name))
            row = await connection.fetchrow(RELEASES["release"], model["id"], semver.precedence)
            if row is None or row["semver"] != text:
                raise NotFound(
                    "release_not_found",
                    f"{model['name']} has no release {text}",
                    actual=text if row is None else f"{row['semver']} has the same precedence",
                    hint=f"muniment release ls {model['name']}",
                )
            files = await connection.fetch(RELEASES["release_files"], model["id"], text)
        answer = _release(row, model["name"])
        answer["manifest"] = json.loads(row["manifest"])
        answer["files"] = [file_row(file) for file in files]
        return answer


async def files_of(source: Source, row: asyncpg.Record) -> list[asyncpg.Record]:
    """The files of what a reference names (statement `version`): the release's own, or the version's."""
    if row["release"] is not None:
        return list(await source.fetch(RELEASES["release_files"], row["model_id"], row["release"]))
    return list(await source.fetch(SQL["files"], row["model_id"], row["number"]))


def release_part(row: asyncpg.Record) -> Json | None:
    """The release that a reference names (statement `version`); None where it names a version."""
    if row["release"] is None:
        return None
    return {
        "semver": row["release"],
        "id": row["release_id"],
        "track": row["release_track"],
        "copy": row["release_copy"],
        "released_at": rfc3339(row["released_at"]),
        "manifest_location": {
            "bucket": row["release_manifest_bucket"],
            "key": row["release_manifest_key"],
            "version_id": row["release_manifest_version_id"],
        },
    }


def manifest_of(row: asyncpg.Record) -> bytes:
    """The manifest of what a reference names (statement `version`): the release's own, or the version's."""
    return bytes(row["manifest"] if row["release"] is None else row["release_manifest"])


def file_row(row: asyncpg.Record) -> Json:
    """A file with its place and its lock; `damaged` tells what is wrong with its bytes, where something is."""
    damage = damage_json(row)
    return {
        "path": row["path"],
        "sha256": row["sha256"],
        "size": row["size"],
        "format": row["format"],
        "role": row["role"],
        "location": {"bucket": row["bucket"], "key": row["key"], "version_id": row["version_id"]},
        "lock": {"mode": row["lock_mode"], "until": rfc3339(row["locked_until"])},
        **({} if damage is None else {"damaged": damage}),
    }


def _release(row: asyncpg.Record, model: str) -> Json:
    return {
        "model": model,
        "semver": row["semver"],
        "id": row["id"],
        "prerelease": row["prerelease"],
        "source": {"number": row["number"], "id": row["source_id"]},
        "track": row["track"],
        "copy": row["copy"],
        "notes": row["notes"],
        "operator": row["operator"],
        "released_at": rfc3339(row["released_at"]),
        "manifest_location": {
            "bucket": row["manifest_bucket"],
            "key": row["manifest_key"],
            "version_id": row["manifest_version_id"],
        },
    }
