"""Runs that repeat another version: each is compared with it in the transaction of its commit, if it asks for that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from muniment.contracts.events import Cause, Change, RegistryChanged
from muniment.contracts.ids import VersionId
from muniment.registry.domain import Commit, Matched, NewVersion, Plan
from muniment.registry.long_values import whole
from muniment.registry.reproduction import Judgement, compare
from muniment.registry.tolerances import Tolerance
from muniment.runtime.delivery.transaction import Tx
from muniment.runtime.sql import load_queries

if TYPE_CHECKING:
    import asyncpg

    from muniment.runtime.delivery.transaction import Connection

SQL = load_queries("muniment.registry", "reproductions")

MOST_SHOWN: Final = 20
"""Reproductions of one version that its answer names."""


async def reproductions_of(connection: Connection, version: asyncpg.Record) -> dict[str, Any]:
    """What a version (a row of the statement `version`) repeats, and what repeats it: the newest `MOST_SHOWN`."""
    if not version["in_reproductions"]:  # nearly always: no statement of its own then
        return {"reproduces": None, "reproduced_by": []}
    original = await connection.fetchrow(SQL["reproduces"], version["model_id"], version["number"])
    again = await connection.fetch(SQL["reproduced_by"], version["id"], MOST_SHOWN)
    shown = None if original is None else {**original, "differences": json.loads(original["differences"])}
    return {"reproduces": shown, "reproduced_by": [dict(row) for row in again]}


async def judge_reproductions(tx: Tx, decided: Plan, causes: Sequence[Cause]) -> None:
    """Judge the versions of a plan that repeat another. Asks the database nothing where none does."""
    asked: list[tuple[NewVersion | Matched, VersionId, Cause]] = []
    for outcome, cause in zip(decided.outcomes, causes, strict=True):
        of_id = outcome.commit.sealed.draft.publication.reproduces
        if of_id is None or not isinstance(outcome, NewVersion | Matched):
            continue
        if outcome.commit.sealed.draft.id != of_id:  # the same manifest is the same version, and repeats nothing
            asked.append((outcome, of_id, cause))
    if not asked:
        return
    rows = await tx.connection.fetch(SQL["originals"], [of_id for _, of_id, _ in asked])
    originals = {row["id"]: row for row in rows}
    for outcome, of_id, cause in asked:
        original = originals[of_id]
        tolerances = [Tolerance.model_validate(one) for one in json.loads(original["tolerances"] or "[]")]
        judgement = compare(
            json.loads(original["manifest"]),
            json.loads(outcome.commit.sealed.draft.manifest),
            tolerances,
            contract=original["revision"],
        )
        await _record(tx, outcome, of_id, judgement, cause)


async def _record(tx: Tx, outcome: NewVersion | Matched, of_id: VersionId, judgement: Judgement, cause: Cause) -> None:
    if isinstance(outcome, NewVersion):
        model_id, name, number = outcome.model.id, outcome.model.name, outcome.number
    else:
        model_id, name, number = outcome.version.model_id, outcome.version.model, outcome.version.number
    differences = judgement.differences_as_json()
    recorded = await tx.connection.fetchval(
        SQL["insert_reproduction"],
        model_id,
        number,
        of_id,
        judgement.outcome,
        judgement.judged_by,
        json.dumps(differences),
        tx.now,
    )
    if recorded is None:
        return
    commit: Commit = outcome.commit
    publication = commit.sealed.draft.publication
    answer = (Change(path="reproduces", after=of_id), Change(path="outcome", after=judgement.outcome))
    tx.emit(
        RegistryChanged(
            kind="version-reproduced",
            model=name,
            operator=commit.operator,
            version=commit.sealed.draft.id,
            number=number,
            branch=publication.branch,
            changes=answer,
        ),
        model=name,
        correlation=publication.publication_id,
        identity=("version-reproduced", commit.sealed.draft.id),
        cause=cause.id,
    )
    tx.audit(
        action="version.reproduced",
        resource=f"models/{name}/versions/{number}",
        model=name,
        operator=commit.operator,
        authenticated_by=commit.authenticated_by,
        cause=cause,
        changes=[*answer, Change(path="judged_by", after=judgement.judged_by), *whole({"differences": differences})],
        correlation=publication.publication_id,
    )
