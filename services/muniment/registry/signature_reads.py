"""How a version's signature came out, as it was recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from muniment.contracts.model import rfc3339
from muniment.registry.store import SIGNATURES

if TYPE_CHECKING:
    import asyncpg

    from muniment.registry.references import Source

Json = dict[str, Any]


async def signature_of(source: Source, version: asyncpg.Record) -> Json:
    """The newest outcome for a version (a row of the statement `version`)."""
    if not version["signed"]:  # nearly always: no statement of its own then
        return {"status": "unsigned"}
    row = await source.fetchrow(SIGNATURES["newest"], version["model_id"], version["number"])
    return {"status": "unsigned"} if row is None else {**dict(row), "judged_at": rfc3339(row["judged_at"])}


async def outcome_of(source: Source, version: asyncpg.Record) -> tuple[str, str | None, int]:
    """Status, code and count of files left out, of any row with `model_id` and `number`."""
    row = await source.fetchrow(SIGNATURES["newest"], version["model_id"], version["number"])
    return ("unsigned", None, 0) if row is None else (row["status"], row["code"], row["uncovered"])
