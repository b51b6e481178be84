"""The registry's writes, as few statements for a batch as there are tables; SQL in `sql/queries.sql`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg

from muniment.contracts.ids import VersionId, model_key
from muniment.contracts.oms.judging import Judgement
from muniment.registry.domain import Commit, Head, KnownVersion, Matched, ModelState, NewVersion, Plan, State, Track
from muniment.runtime.delivery.transaction import Tx
from muniment.runtime.settings import RegistrySettings, TrackSettings
from muniment.runtime.sql import load_queries

SQL = load_queries("muniment.registry")
POINTERS = load_queries("muniment.registry", "pointers")
RELEASES = load_queries("muniment.registry", "releases")
LINEAGE = load_queries("muniment.registry", "lineage")
SCRUBBING = load_queries("muniment.registry", "scrubbing")
MANIFESTS = load_queries("muniment.registry", "manifest_scrubbing")
SIGNATURES = load_queries("muniment.registry", "signatures")


async def prepare_tracks(pool: asyncpg.Pool[Any], settings: RegistrySettings) -> dict[str, Track]:
    """Make the two tracks that exist from the start, where they are missing; returns all tracks.

    A track's rules in the database win over the settings: changing a setting never weakens a track.
    """
    first: tuple[tuple[str, TrackSettings], ...] = (
        ("production", settings.production),
        ("experimental", settings.experimental),
    )
    for name, track in first:
        await pool.execute(SQL["put_track"], name, track.lock_mode, track.retention_s)
    rows = await pool.fetch(SQL["tracks"])
    return {row["name"]: track_of(row) for row in rows}


def track_of(row: asyncpg.Record) -> Track:
    """The track of a row."""
    formats = None if row["formats"] is None else frozenset(row["formats"])
    return Track(
        row["name"],
        row["lock_mode"],
        row["retention_s"],
        row["bucket"],
        formats,
        tuple(row["checks"]),
        row["signature_required"],
    )


async def known_versions(source: Any, ids: Iterable[str]) -> dict[VersionId, KnownVersion]:
    """The versions that exist among the ids; `source` is a pool or a connection."""
    rows = await source.fetch(SQL["versions_by_id"], list(ids))
    return {
        row["id"]: KnownVersion(
            row["id"], row["model_id"], row["model"], row["number"], row["branch"], deleted=row["deleted"]
        )
        for row in rows
    }


async def load_state(tx: Tx, commits: Sequence[Commit]) -> State:
    """Lock the models' rows, make missing ones, and read.

    In one order, so that transactions hardly ever wait in a circle; Postgres ends one of those, and it is tried again.
    """
    names: dict[str, tuple[str, str]] = {}
    for commit in commits:
        publication = commit.sealed.draft.publication
        names.setdefault(model_key(publication.model), (publication.model, commit.operator))
    keys = sorted(names)
    rows = await tx.connection.fetch(SQL["lock_models"], keys)
    fresh: set[int] = set()
    if len(rows) < len(keys):
        created = await tx.connection.fetch(
            SQL["create_models"], keys, [names[key][0] for key in keys], [names[key][1] for key in keys], tx.now
        )
        fresh = {row["id"] for row in created}
        rows = await tx.connection.fetch(SQL["lock_models"], keys)
    models = {
        row["name_key"]: ModelState(row["id"], row["name"], row["last_number"], row["id"] in fresh) for row in rows
    }
    wanted = {commit.sealed.draft.id for commit in commits}
    wanted.update(parent.id for commit in commits for parent in commit.sealed.draft.publication.facts.parents)
    wanted.update(of_id for commit in commits if (of_id := commit.sealed.draft.publication.reproduces))
    versions = await known_versions(tx.connection, wanted)
    branches = {commit.sealed.draft.publication.branch for commit in commits}
    rows = await tx.connection.fetch(SQL["heads"], [model.id for model in models.values()], list(branches))
    heads = {
        (row["model_id"], row["name"]): Head(row["head_number"], row["head_id"], row["closed"], row["protected"])
        for row in rows
        if row["head_number"] is not None
    }
    pointers = frozenset((row["model_id"], row["name"]) for row in rows if row["head_number"] is None)
    return State(models, versions, heads, pointers)


async def write_versions(tx: Tx, new: Sequence[NewVersion]) -> None:
    """Write versions with their numbers, files, objects, and parents."""
    if not new:
        return
    drafts = [version.commit.sealed.draft for version in new]
    publications = [draft.publication for draft in drafts]
    sealed = [version.commit.sealed for version in new]
    await tx.connection.execute(
        SQL["insert_versions"],
        [version.model.id for version in new],
        [version.number for version in new],
        [draft.id for draft in drafts],
        [publication.publication_id for publication in publications],
        [publication.branch for publication in publications],
        [version.previous.number if version.previous else None for version in new],
        [version.stability for version in new],
        [draft.track.name for draft in drafts],
        [version.commit.operator for version in new],
        [version.commit.authenticated_by for version in new],
        [draft.manifest for draft in drafts],
        [seal.manifest.key for seal in sealed],
        [seal.manifest.version_id for seal in sealed],
        [seal.locked_until for seal in sealed],
        [sum(file.size for file in publication.files) for publication in publications],
        [len(publication.files) for publication in publications],
        [publication.description for publication in publications],
        tx.now,
        sealed[0].manifest.bucket,
        [json.dumps(publication.tags) for publication in publications],
    )
    await _write_files(tx, new)
    parents = [
        (version.model.id, version.number, parent.id, parent.kind)
        for version, publication in zip(new, publications, strict=True)
        for parent in publication.facts.parents
    ]
    if parents:
        await tx.connection.execute(SQL["insert_parents"], *map(list, zip(*parents, strict=True)))
    await _write_sources(tx, new)
    signed = [(one, one.commit.sealed.signature) for one in new if one.commit.sealed.signature.status != "unsigned"]
    await write_signatures(tx, [(one.model.id, one.number, judgement) for one, judgement in signed])


async def write_signatures(tx: Tx, judged: Sequence[tuple[int, int, Judgement]]) -> None:
    """Keep how signatures came out, by (model id, number); no statement where there is none."""
    if not judged:
        return
    rows = [
        (model, number, one.path, one.status, one.method, one.signer, one.code, len(one.uncovered))
        for model, number, one in judged
    ]
    await tx.connection.execute(SIGNATURES["insert_signatures"], *_columns(rows, 8), tx.now)


async def _write_sources(tx: Tx, new: Sequence[NewVersion]) -> None:
    """Index datasets and code, for questions from their side; no statement where a batch has none."""
    facts = [(version.model.id, version.number, version.commit.sealed.draft.publication.facts) for version in new]
    data = [
        (model, number, one.name, one.digest or "", one.uri) for model, number, told in facts for one in told.datasets
    ]
    code = [
        (model, number, told.code.repository, told.code.commit)
        for model, number, told in facts
        if told.code is not None and told.code.commit is not None
    ]
    if data or code:
        columns = [*_columns(data, 5), *_columns(code, 4)]
        await tx.connection.execute(LINEAGE["insert_sources"], *columns)


def _columns(rows: Sequence[tuple[Any, ...]], count: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(count)]


async def _write_files(tx: Tx, new: Sequence[NewVersion]) -> None:
    files = [(version, file) for version in new for file in version.commit.sealed.draft.publication.files]
    await tx.connection.execute(
        SQL["insert_files"],
        [file.location.bucket for _, file in files],
        [file.location.key for _, file in files],
        [file.location.version_id for _, file in files],
        [file.sha256 for _, file in files],
        [file.size for _, file in files],
        [version.commit.sealed.draft.track.lock_mode for version, _ in files],
        [version.commit.sealed.locked_until for version, _ in files],
        [version.model.id for version, _ in files],
        [version.number for version, _ in files],
        [file.path for _, file in files],
        [file.format for _, file in files],
        [file.role for _, file in files],
    )


async def write_moves(tx: Tx, decided: Plan) -> None:
    """Move the branches' heads and keep each movement."""
    moves: list[tuple[int, str, int | None, int, str, str]] = []
    for outcome in decided.outcomes:
        if isinstance(outcome, NewVersion):
            branch = outcome.commit.sealed.draft.publication.branch
            before = outcome.previous.number if outcome.previous else None
            moves.append(
                (outcome.model.id, branch, before, outcome.number, outcome.commit.operator, outcome.commit.cause)
            )
        elif isinstance(outcome, Matched) and outcome.move is not None:
            target, head = outcome.move
            before = head.number if head else None
            version = outcome.version
            moves.append(
                (version.model_id, target, before, version.number, outcome.commit.operator, outcome.commit.cause)
            )
    if not moves:
        return
    await tx.connection.execute(SQL["move_heads"], *map(list, zip(*moves, strict=True)), tx.now)
