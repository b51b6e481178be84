"""Reads a model's graph, and manifests only where they are looked at: few statements, whatever the history's length."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import asyncpg
from pydantic_core import from_json

from muniment.contracts.errors import TooLarge
from muniment.registry.history.graph import PREVIOUS, Edge, Graph, Node
from muniment.runtime.sql import load_queries

HISTORY: Final = load_queries("muniment.registry", "history")
MAX_VERSIONS: Final = 200_000
MAX_PARENTS: Final = 400_000
MAX_MANIFEST_BYTES: Final = 2 * 1024**3
"""Of all manifests that one question looks at."""
_BATCH_BYTES: Final = 8 * 1024 * 1024
_BATCH: Final = 1_000
T = TypeVar("T")
Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Histories:
    """Reads histories."""

    pool: asyncpg.Pool[Any]

    async def graph(self, model: asyncpg.Record, last: int | None = None) -> Graph:
        """The model's versions up to a number. Raises `TooLarge` (`history_too_large`)."""
        top = model["versions"] if last is None else last
        rows = await self.pool.fetch(HISTORY["graph_nodes"], model["id"], top, MAX_VERSIONS + 1)
        if len(rows) > MAX_VERSIONS:
            raise _too_large(f"<= {MAX_VERSIONS:,} versions", f"{top:,} versions")
        return await self._with_parents(model, rows, 1, top)

    async def page(self, model: asyncpg.Record, below: int, limit: int) -> list[Node]:
        """Versions below a number, newest first."""
        rows = await self.pool.fetch(HISTORY["graph_page"], model["id"], below, limit)
        if not rows:
            return []
        graph = await self._with_parents(model, rows, rows[-1]["number"], rows[0]["number"])
        return list(graph.nodes.values())

    async def _with_parents(
        self, model: asyncpg.Record, rows: Sequence[asyncpg.Record], first: int, last: int
    ) -> Graph:
        named = await self.pool.fetch(HISTORY["graph_parents"], model["id"], first, last, MAX_PARENTS + 1)
        if len(named) > MAX_PARENTS:
            raise _too_large(f"<= {MAX_PARENTS:,} named parents", f"> {MAX_PARENTS:,}")
        ids = {row["number"]: row["id"] for row in rows}
        if missing := {row["previous_number"] for row in rows} - ids.keys() - {None}:
            found = await self.pool.fetch(HISTORY["graph_ids"], model["id"], list(missing))
            ids |= {row["number"]: row["id"] for row in found}
        return await asyncio.to_thread(_graph, model["id"], rows, named, ids)

    async def each_manifest(
        self, model_id: int, graph: Graph, numbers: Iterable[int], read: Callable[[int, Manifest], T]
    ) -> AsyncIterator[list[T]]:
        """What `read` makes of each manifest, newest first, in batches; `read` runs on a thread.

        Raises `TooLarge` (`history_too_large`) where the manifests are too many bytes in all.
        """
        wanted = sorted(numbers, reverse=True)
        total = sum(graph.nodes[number].manifest_bytes for number in wanted)
        if total > MAX_MANIFEST_BYTES:
            raise _too_large(f"<= {MAX_MANIFEST_BYTES:,} B of manifests", f"{total:,} B")
        batches = iter(_batches(graph, wanted))
        coming = self._fetch(model_id, next(batches, None))
        try:
            while (rows := await coming) is not None:
                coming = self._fetch(model_id, next(batches, None))  # the database works while these are parsed
                yield await asyncio.to_thread(_read_all, rows, read)
        finally:
            coming.cancel()

    def _fetch(self, model_id: int, numbers: list[int] | None) -> asyncio.Task[list[asyncpg.Record] | None]:
        async def fetch() -> list[asyncpg.Record] | None:
            return None if numbers is None else await self.pool.fetch(HISTORY["manifests"], model_id, numbers)

        return asyncio.create_task(fetch())


def _read_all(rows: Sequence[asyncpg.Record], read: Callable[[int, Manifest], T]) -> list[T]:
    return [read(row["number"], from_json(row["manifest"])) for row in rows]


def _graph(
    model_id: int, rows: Sequence[asyncpg.Record], named: Sequence[asyncpg.Record], ids: Mapping[int, str]
) -> Graph:
    edges: dict[int, list[Edge]] = {}
    for number, previous in ((row["number"], row["previous_number"]) for row in rows):
        edges[number] = [] if previous is None else [Edge(PREVIOUS, ids[previous], previous)]
    for row in named:
        elsewhere = None if row["parent_model_id"] == model_id else row["parent_model"]
        if row["number"] in edges:
            edges[row["number"]].append(Edge(row["kind"], row["parent_id"], row["parent_number"], elsewhere))
    return Graph(
        {
            row["number"]: Node(
                row["number"],
                row["id"],
                row["branch"],
                row["operator"],
                row["committed_at"],
                row["deleted"],
                tuple(edges[row["number"]]),
                row["size"],
            )
            for row in rows
        }
    )


def _batches(graph: Graph, numbers: Sequence[int]) -> Iterable[list[int]]:
    batch: list[int] = []
    size = 0
    for number in numbers:
        batch.append(number)
        size += graph.nodes[number].manifest_bytes
        if size >= _BATCH_BYTES or len(batch) == _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _too_large(expected: str, actual: str) -> TooLarge:
    return TooLarge(
        "history_too_large",
        "the model's history is too large to be looked at in one request",
        expected=expected,
        actual=actual,
        hint="ask about an older version, or page through the log",
    )
