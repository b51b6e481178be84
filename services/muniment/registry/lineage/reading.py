"""Lineage from the database: at most a statement for each kind of node and level, never one for a node."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import asyncpg

from muniment.contracts.errors import NotFound, Rejected
from muniment.registry.lineage.graph import KINDS, Direction, Edge, Kind, Node, Walk, answer
from muniment.registry.references import find_version
from muniment.registry.store import LINEAGE

if TYPE_CHECKING:
    from muniment.registry.references import Source

MAX_DEPTH: Final = 1000
MAX_NODES: Final = 2000
_MAX_EDGES: Final = 4 * MAX_NODES
"""Of one statement. More are told as cut."""
_DIRECTIONS: Final[tuple[Direction, ...]] = ("up", "down")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: exactly one of `ref`, `dataset` (NAME or NAME@DIGEST) and `code` (a commit)."""

    ref: str | None = None
    dataset: str | None = None
    code: str | None = None
    direction: Literal["up", "down", "both"] = "both"
    depth: int = MAX_DEPTH
    nodes: int = MAX_NODES
    kinds: frozenset[str] = frozenset()
    previous: bool = False
    """Whether the version before on the branch counts as a source."""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Lineage:
    """Reads of one registry."""

    pool: asyncpg.Pool[Any]

    async def ask(self, question: Question) -> dict[str, Any]:
        """The graph around something: `{"start", "nodes", "edges", "cut"}`.

        Raises `Rejected` (`lineage_question_invalid`, `kind_unknown`), `NotFound` (`dataset_not_found`,
        `code_not_found`) and what `find_version` raises.
        """
        _check(question)
        async with self.pool.acquire(timeout=30) as connection:
            start = await _start(connection, question)
            walks = [
                await self._walk(connection, start, direction, question)
                for direction in _DIRECTIONS
                if question.direction in {direction, "both"}
            ]
            if start.kind != "version" and not any(walk.edges or walk.cut for walk in walks):
                await self._check_known(connection, start, question)
        return {"start": start.key, **answer(walks, question.kinds)}

    async def _walk(self, source: Source, start: Node, direction: Direction, question: Question) -> Walk:
        walk = Walk.of([start], direction, max_depth=question.depth, max_nodes=question.nodes)
        while walk.frontier:
            edges, complete = await _step(source, walk.frontier, direction, question)
            walk.take(edges)
            walk.cut = walk.cut or not complete
        return walk

    async def _check_known(self, source: Source, start: Node, question: Question) -> None:
        for direction in _DIRECTIONS:
            edges, _ = await _step(source, [start], direction, question)
            if edges:
                return
        raise NotFound(
            f"{start.kind}_not_found",
            f"no version and no run has named this {start.kind}",
            actual=start.key.partition(":")[2],
            hint="muniment versions show REF lists what a version was made from",
        )


def _check(question: Question) -> None:
    given = [name for name in ("ref", "dataset", "code") if getattr(question, name)]
    if len(given) != 1:
        raise Rejected(
            "lineage_question_invalid",
            "lineage is asked for one thing",
            expected="one of ref, dataset and code",
            actual=", ".join(given) or "none of them",
        )
    if unknown := sorted(question.kinds - set(KINDS)):
        raise Rejected(
            "kind_unknown", "there is no such kind of node", expected=", ".join(KINDS), actual=", ".join(unknown)
        )


async def _start(source: Source, question: Question) -> Node:
    if question.code:
        return Node("code", question.code)
    if question.dataset:
        # The last @ parts name and digest: a name may hold one itself, as in team@mnist@sha256:ab12.
        name, at, digest = question.dataset.rpartition("@")
        return Node("dataset", name, digest) if at and name else Node("dataset", question.dataset)
    row = await find_version(source, question.ref or "", question.at)
    facts = {"id": row["id"], "branch": row["branch"], "deleted": row["deleted_at"] is not None}
    return Node("version", f"{row['model']}/{row['number']}", "", (row["model_id"], row["number"]), facts)


async def _step(
    source: Source, frontier: Sequence[Node], direction: Direction, question: Question
) -> tuple[list[Edge], bool]:
    """The edges that leave these nodes; whether that is all of them."""
    edges: list[Edge] = []
    complete = True
    for statement, kind, given in _statements(frontier, direction, question):
        rows = await source.fetch(LINEAGE[statement], *given)
        complete = complete and len(rows) < _MAX_EDGES
        here = {node.row or (node.name, node.digest): node for node in frontier if node.kind == kind}
        for row in rows:
            at = here[(row[0], row[1])]
            there = _node(row)
            edges.append(Edge(there, at, row["edge"]) if direction == "up" else Edge(at, there, row["edge"]))
    return edges, complete


def _statements(
    frontier: Sequence[Node], direction: Direction, question: Question
) -> list[tuple[str, Kind, tuple[Any, ...]]]:
    """The statements for a level: the kind of node each starts at, and what it is given."""
    versions = [node.row for node in frontier if node.row is not None]
    datasets = [node for node in frontier if node.kind == "dataset"]
    names, digests = [node.name for node in datasets], [node.digest for node in datasets]
    uris = [node.facts.get("uri") for node in datasets]
    code = [node.name for node in frontier if node.kind == "code"]
    runs = [node.name for node in frontier if node.kind == "external-run"]
    asked: list[tuple[str, Kind, tuple[Any, ...]]] = []
    at = question.at
    if versions:
        rows = ([model for model, _ in versions], [number for _, number in versions], question.previous, _MAX_EDGES)
        up = direction == "up"
        asked.append(("above_versions", "version", rows) if up else ("below_versions", "version", (*rows, at)))
    if datasets:
        way = "output" if direction == "up" else "input"
        asked.append(("runs_of_datasets", "dataset", (names, digests, uris, way, at, _MAX_EDGES)))
        if direction == "down":
            asked.append(("below_datasets", "dataset", (names, digests, at, _MAX_EDGES)))
    if code and direction == "down":
        asked.append(("below_code", "code", (code, at, _MAX_EDGES)))
    if runs:
        way = "input" if direction == "up" else "output"
        asked.append(("datasets_of_runs", "external-run", (runs, way, at, _MAX_EDGES)))
    return asked


def _node(row: asyncpg.Record) -> Node:
    place = None if row["model_id"] is None else (row["model_id"], row["number"])
    return Node(row["kind"], row["name"], row["digest"], place, json.loads(row["facts"]))
