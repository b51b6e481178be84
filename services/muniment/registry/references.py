"""What a reference means: the version it names now, or named at a moment. The one place that asks the database."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from muniment.contracts.errors import Conflict, NotFound
from muniment.contracts.ids import ModelName, model_key
from muniment.contracts.model import rfc3339
from muniment.contracts.reference import BASELINE, Reference, parse_reference
from muniment.contracts.semver import parse_semver
from muniment.contracts.semver_range import parse_range
from muniment.registry.store import RELEASES, SQL

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Source = asyncpg.Pool[Any] | asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    """What runs a statement: the pool, or the connection that a read or a transaction keeps for several."""

_CANDIDATES_AT_ONCE: Final = 200
_PAGES_OF_CANDIDATES: Final = 50


async def find_model(source: Source, name: ModelName) -> asyncpg.Record:
    """The row of a model: `id`, `name`, `versions` (the number given last). Raises `NotFound` (`model_not_found`)."""
    row: asyncpg.Record | None = await source.fetchrow(SQL["model"], model_key(name))
    if row is None:
        raise NotFound("model_not_found", f"there is no model {name!r}", actual=name, hint="muniment models ls")
    return row


async def find_version(source: Source, ref: str, at: datetime | None = None) -> asyncpg.Record:
    """The row (statement `version`) of the version that a reference names: one statement where it names one now.

    Where it names a release, the row's `release` columns tell of that. A range costs one more statement.
    A deleted version is found, too: `deleted_at` tells. Raises `Rejected` (`reference_invalid`), `NotFound`
    (`model_not_found`, `version_not_found`, `reference_not_found`) and `Conflict` (`reference_ambiguous`).
    """
    reference = await pinned(source, parse_reference(ref), at)
    key = model_key(reference.model)
    row: asyncpg.Record | None = None
    if at is None and reference.kind == "number":
        row = await source.fetchrow(SQL["version"], key, int(reference.value), None)
    elif at is None and reference.kind in {"name", "release"}:
        row = await source.fetchrow(SQL["version"], key, None, reference.value)
    if row is None:
        model = await find_model(source, reference.model)
        number = await find_number(source, reference, model, at)
        release = reference.value if reference.kind == "release" else None
        row = await source.fetchrow(SQL["version"], key, number, release)
    if row is None:
        raise NotFound("version_not_found", f"{ref} names no version", actual=ref, hint="muniment versions ls MODEL")
    return row


async def pinned(source: Source, reference: Reference, at: datetime | None = None) -> Reference:
    """The reference, with the release that a range means in the range's place: the highest that there is in it.

    Looks at 10,000 releases between the range's ends at most. Raises `NotFound` (`model_not_found`,
    `reference_not_found`).
    """
    if reference.kind != "range":
        return reference
    wanted = parse_range(reference.value)
    key = model_key(reference.model)
    low, high = wanted.hull()
    for page in range(_PAGES_OF_CANDIDATES):
        seen = min(page, 1)  # the page before ended with the release that this one begins with
        rows = await source.fetch(
            RELEASES["releases_between"], key, low, high, wanted.names_prerelease, at, _CANDIDATES_AT_ONCE, seen
        )
        for row in rows:
            if parse_semver(row["semver"]) in wanted:
                return Reference(reference.model, "release", row["semver"])
        if len(rows) < _CANDIDATES_AT_ONCE:
            break
        high = rows[-1]["precedence"]
    model = await find_model(source, reference.model)
    known = [row["name"] for row in await _known(source, model, at) if row["kind"] == "release"]
    name = model["name"]
    raise NotFound(
        "reference_not_found",
        f"no release of {name} is in the range {reference.value}{_then(at)}",
        expected=f"a range that holds one of {', '.join(known)}"
        if known
        else "a range that holds a release; there is none yet",
        actual=reference.value,
        hint=_instead_of_range(name, reference.value, known),
    )


async def find_number(source: Source, reference: Reference, model: asyncpg.Record, at: datetime | None = None) -> int:
    """The number of the version that a reference of this model names, at a moment if one is given.

    Raises as `find_version`.
    """
    reference = await pinned(source, reference, at)
    last = model["versions"]
    if at is not None:
        last = await source.fetchval(SQL["last_number_then"], model["id"], at) or 0
    if reference.kind == "number":
        if int(reference.value) <= last:
            return int(reference.value)
        raise NotFound(
            "version_not_found",
            f"{reference} names no version{_then(at)}",
            expected=f"a number from 1 to {last}" if last else "nothing: the model had no version yet",
            actual=int(reference.value),
            hint=f"muniment versions ls {model['name']}" if last else "name a later moment",
        )
    if reference.kind == "digest":
        rows = await source.fetch(SQL["numbers_by_prefix"], model["id"], reference.value)
        if len(rows) > 1:
            raise Conflict("reference_ambiguous", "the prefix fits several versions", actual=reference.value)
        if rows and rows[0]["number"] <= last:
            return int(rows[0]["number"])
    elif at is None:
        for row in await source.fetch(SQL["named"], model["id"], reference.value):
            return int(row["number"])
    else:
        for row in await source.fetch(SQL["named_then"], model["id"], reference.value, at):
            if row["number"] is not None:
                return int(row["number"])
    known = [row["name"] for row in await _known(source, model, at)]
    raise NotFound(
        "reference_not_found",
        f"{reference} names no version{_then(at)}: {_what_is_missing(reference)}",
        expected=f"one of {', '.join(known)}, or a number from 1 to {last}"
        if last
        else "nothing: the model had no version yet",
        actual=reference.value,
        hint=f"for example {model['name']}@{known[0] if known else 'main'} or {model['name']}/1"
        if last
        else "name a later moment",
    )


async def _known(source: Source, model: asyncpg.Record, at: datetime | None) -> list[asyncpg.Record]:
    """Some of the names that the model has, or had at a moment: `name`, `kind`. For error messages."""
    if at is None:
        return list(await source.fetch(SQL["names"], model["id"]))
    return list(await source.fetch(SQL["names_then"], model["id"], at))


def _instead_of_range(name: str, wanted: str, known: list[str]) -> str:
    if wanted.isdigit():
        return f"muniment versions show {name}/{wanted} is the version with that number"
    for semver in map(parse_semver, known):
        if semver.prerelease and replace(semver, prerelease=(), build=()) in parse_range(wanted):
            return f"a range takes a prerelease only where it names one: muniment versions show {name}@{semver}"
    return f"muniment release ls {name}"


def _then(at: datetime | None) -> str:
    return f" as of {rfc3339(at)}" if at else ""


def _what_is_missing(reference: Reference) -> str:
    if reference.kind == "digest":
        return "no version's id begins so"
    if reference.value == BASELINE:
        return "the model has no baseline yet"
    return "there is no such " + ("release" if reference.kind == "release" else "branch or pointer")
