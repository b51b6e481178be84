"""What a reference means: the version it names now, or named at a moment. The one place that asks the database."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import asyncpg

from muniment.contracts.errors import Conflict, NotFound
from muniment.contracts.ids import ModelName, model_key
from muniment.contracts.reference import BASELINE, Reference, parse_reference
from muniment.registry.store import SQL

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Source = asyncpg.Pool[Any] | asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    """What runs a statement: the pool, or the connection that a read or a transaction keeps for several."""


async def find_model(source: Source, name: ModelName) -> asyncpg.Record:
    """The row of a model: `id`, `name`, `versions` (the number given last). Raises `NotFound` (`model_not_found`)."""
    row: asyncpg.Record | None = await source.fetchrow(SQL["model"], model_key(name))
    if row is None:
        raise NotFound("model_not_found", f"there is no model {name!r}", actual=name, hint="muniment models ls")
    return row


async def find_version(source: Source, ref: str, at: datetime | None = None) -> asyncpg.Record:
    """The row (statement `version`) of the version that a reference names: one statement where it names one now.

    A deleted version is found, too: `deleted_at` tells. Raises `Rejected` (`reference_invalid`), `NotFound`
    (`model_not_found`, `version_not_found`, `reference_not_found`) and `Conflict` (`reference_ambiguous`).
    """
    reference = parse_reference(ref)
    key = model_key(reference.model)
    row: asyncpg.Record | None = None
    if at is None and reference.kind == "number":
        row = await source.fetchrow(SQL["version"], key, int(reference.value), None)
    elif at is None and reference.kind in {"name", "release"}:
        row = await source.fetchrow(SQL["version"], key, None, reference.value)
    if row is None:
        model = await find_model(source, reference.model)
        number = await find_number(source, reference, model, at)
        row = await source.fetchrow(SQL["version"], key, number, None)
    if row is None:
        raise NotFound("version_not_found", f"{ref} names no version", actual=ref, hint="muniment versions ls MODEL")
    return row


async def find_number(source: Source, reference: Reference, model: asyncpg.Record, at: datetime | None = None) -> int:
    """The number of the version that a reference of this model names, at a moment if one is given.

    Raises as `find_version`.
    """
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
    known = [row["name"] for row in await source.fetch(SQL["names"], model["id"])]
    raise NotFound(
        "reference_not_found",
        f"{reference} names no version{_then(at)}: {_what_is_missing(reference)}",
        expected=f"one of {', '.join(known) or 'nothing yet'}, or a number from 1 to {last}",
        actual=reference.value,
        hint=f"for example {model['name']}@{known[0] if known else 'main'} or {model['name']}/1",
    )


def _then(at: datetime | None) -> str:
    return f" as of {at.isoformat()}" if at else ""


def _what_is_missing(reference: Reference) -> str:
    if reference.kind == "digest":
        return "no version's id begins so"
    if reference.value == BASELINE:
        return "the model has no baseline yet"
    return "there is no such " + ("release" if reference.kind == "release" else "branch or pointer")
