"""Blame over the registry's tables and store: which version last set each field and tensor of another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json

from muniment.contracts.ids import model_name
from muniment.contracts.model import rfc3339
from muniment.registry.history.blame import Target, blame
from muniment.registry.history.fields import TENSORS, sections_of
from muniment.registry.history.graph import Graph, Node
from muniment.registry.history.loading import Histories
from muniment.registry.history.tensors import MAX_BYTES, TensorDigests
from muniment.registry.references import find_model, find_version

Json = dict[str, Any]
_BATCH: Final = 256


@dataclass(frozen=True, slots=True)
class Blames:
    """Answers blame."""

    histories: Histories
    tensors: TensorDigests

    async def blame(self, ref: str, glob: str = "*", *, tensors: bool = False, whole_graph: bool = False) -> Json:
        """For each field that fits the glob: the version that last changed it on the way to the reference.

        Raises as `find_version`, and `TooLarge` (`history_too_large`, `tensors_too_large`).
        """
        row = await find_version(self.histories.pool, ref)
        model = await find_model(self.histories.pool, model_name(row["model"]))
        start = row["number"]
        graph = await self.histories.graph(model, start)
        line = sorted(graph.ancestors([start], first_only=not whole_graph), reverse=True)
        target = Target(sections_of(from_json(row["manifest"])), glob)
        shared = await self._shared(model["id"], graph, line, target, stop=not whole_graph)
        answer = _fields(graph, start, target, blame(graph, start, shared, target.all, first_only=not whole_graph))
        if tensors:
            allowed = MAX_BYTES
            found, allowed = await self.tensors.of(model["id"], [start], allowed)
            target = Target({TENSORS: found.get(start, {})}, glob)
            shared = await self._shared_tensors(model["id"], line, target, allowed, stop=not whole_graph)
            answer += _fields(graph, start, target, blame(graph, start, shared, target.all, first_only=not whole_graph))
        return {
            "model": row["model"],
            "number": start,
            "id": row["id"],
            "whole_graph": whole_graph,
            "versions": len(line),
            "fields": answer,
        }

    async def _shared(
        self, model_id: int, graph: Graph, line: Sequence[int], target: Target, *, stop: bool
    ) -> dict[int, int]:
        shared: dict[int, int] = {}
        left = target.all
        if not left:
            return shared
        wanted = target.sections
        async for batch in self.histories.each_manifest(
            model_id, graph, line, lambda number, manifest: (number, target.shared(sections_of(manifest, wanted)))
        ):
            for number, fields in batch:
                shared[number] = fields
                left &= fields
            if stop and not left:  # every field was changed since, so nothing older counts
                break
        return shared

    async def _shared_tensors(
        self, model_id: int, line: Sequence[int], target: Target, allowed: int, *, stop: bool
    ) -> dict[int, int]:
        shared: dict[int, int] = {}
        left = target.all
        for batch in _growing(line):
            if not left:
                break
            found, allowed = await self.tensors.of(model_id, batch, allowed)
            for number in batch:
                shared[number] = target.shared({TENSORS: found.get(number, {})})
                left &= shared[number] if stop else target.all
        return shared


def _growing(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """Small batches first: training changes every tensor, so that most answers are near."""
    at, size = 0, 2
    while at < len(numbers):
        yield numbers[at : at + size]
        at, size = at + size, min(2 * size, _BATCH)


def _fields(graph: Graph, start: int, target: Target, blamed: dict[int, int]) -> list[Json]:
    return list(_each_field(graph.nodes, target, sorted(blamed.items(), reverse=True)))


def _each_field(nodes: Any, target: Target, blamed: Iterable[tuple[int, int]]) -> Iterator[Json]:
    for number, fields in blamed:
        node: Node = nodes[number]
        for field in target.names(fields):
            yield {
                "field": field,
                "value": target.fields[field],
                "number": number,
                "id": node.id,
                "branch": node.branch,
                "operator": node.operator,
                "committed_at": rfc3339(node.committed_at),
            }
