"""Why a version may be bad, over the registry's tables and store: what changed on its edge, held against the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from muniment.contracts.model import rfc3339
from muniment.registry.history.evidence import Evidence
from muniment.registry.history.factors import (
    MAX_FACTORS,
    Factor,
    as_json,
    changed_factors,
    ranked,
    sentences,
)
from muniment.registry.history.fields import TENSORS, Sections, sections_of
from muniment.registry.history.graph import Graph
from muniment.registry.history.loading import Histories, Manifest
from muniment.registry.history.tallying import NOTHING, Held, tallies
from muniment.registry.history.tensor_groups import MAX_GROUPS, Level, differing, finest, grouped
from muniment.registry.history.tensors import TensorDigests

Json = dict[str, Any]
MAX_EDGES: Final = 20_000
"""Versions, the newest, whose edges are searched for the same factors."""
MAX_TENSOR_BYTES: Final = 1024**3
"""Bytes that one why reads of files whose tensors are not known yet."""
MAX_TENSOR_VERSIONS: Final = 512
"""Versions, the nearest to the bad one, whose tensors are compared."""
MAX_TENSORS: Final = 200_000
"""Tensors of those versions in all, counted as the bad one has them."""
_TENSORS_AT_ONCE: Final = 20_000


@dataclass(frozen=True, slots=True)
class _Groups:
    """The tensor groups that changed, their values in other versions, and what was looked at."""

    factors: list[Factor]
    held: Held
    told: Json
    text: list[str]


_NO_GROUPS: Final = _Groups([], {}, {"compared": False}, [])


@dataclass(frozen=True, slots=True)
class Whys:
    """Answers why."""

    histories: Histories
    tensors: TensorDigests

    async def of(self, model: asyncpg.Record, graph: Graph, suspects: tuple[int, ...], evidence: Evidence) -> Json:
        """What changed from the last version known to be good to the bad one, held against the model's other edges.

        Raises `TooLarge` (`history_too_large`). Tensors that are too many bytes, or that the store does not give now,
        are left out and the text says so: they are a part of the answer and not the question.
        """
        bad = suspects[-1]
        base: int | None = bad
        while base in suspects:
            base = next(iter(graph.parents(base)), None)
        if base is None:
            return {"base": None, "factors": [], "text": ["the first version of its line: there is nothing before it"]}
        model_id = model["id"]
        ends: dict[int, Sections] = {}
        async for batch in self.histories.each_manifest(
            model_id, graph, [base, bad], lambda number, manifest: (number, sections_of(manifest))
        ):
            ends |= dict(batch)
        factors = changed_factors(ends[base], ends[bad])
        shown = factors[:MAX_FACTORS]
        looked = newest(graph)
        held: Held = {}
        if shown:
            async for some in self.histories.each_manifest(model_id, graph, looked, _reader(shown)):
                held |= dict(some)
        groups = await self._groups(model_id, graph, base, bad)
        known = {*suspects}
        counted = await asyncio.to_thread(
            lambda: [
                *tallies(graph, held, shown, known, evidence),
                *tallies(graph, groups.held, groups.factors, known, evidence),
            ]
        )
        found = ranked(counted)
        text = [*sentences(found, evidence.effect(base, bad)), *groups.text]
        if any(one.changed for one in found):
            text += evidence.notes
        if len(suspects) > 1:
            text.append(f"{len(suspects)} versions lie between: skipped ones cannot be told from the first bad one")
        return {
            "base": shown_version(graph, base),
            "version": shown_version(graph, bad),
            "other_parents": [shown_version(graph, number) for number in graph.parents(bad)[1:]],
            "value_before": evidence.values.get(base),
            "value_after": evidence.values.get(bad),
            "factors": as_json(found),
            "factors_left_out": len(factors) - len(shown),
            "edges_of": len(looked),
            "all_edges": len(looked) == len(graph.nodes),
            "tensors": groups.told,
            "text": text,
        }

    async def _groups(self, model_id: int, graph: Graph, base: int, bad: int) -> _Groups:
        ends, allowed = await self.tensors.readable(model_id, [bad, base], MAX_TENSOR_BYTES)
        if len(ends) < 2:
            line = (
                "tensors were not compared: the safetensors files here are more than one question reads "
                f"({MAX_TENSOR_BYTES:,} B), or cannot be read now"
            )
            return _Groups([], {}, {"compared": False, "reason": line}, [line])
        if not ends[base] and not ends[bad]:
            return _NO_GROUPS
        level, before, after = await asyncio.to_thread(finest, ends[base], ends[bad])
        names = differing(before, after)
        factors = [Factor(TENSORS, name, before.get(name), after.get(name)) for name in names[:MAX_GROUPS]]
        held = {base: _held(before, factors), bad: _held(after, factors)}
        each = max(len(ends[base]), len(ends[bad]))
        others = _nearest(graph, bad, {base, bad}, min(MAX_TENSOR_VERSIONS, MAX_TENSORS // each)) if factors else []
        at_once = max(1, _TENSORS_AT_ONCE // each)
        for start in range(0, len(others), at_once):
            found, allowed = await self.tensors.readable(model_id, others[start : start + at_once], allowed)
            held |= await asyncio.to_thread(_all_held, found, level, factors)
        told = {
            "compared": True,
            "level": level,
            "changed": len(names),
            "groups": len({*before, *after}),
            "versions": len(held),
            "versions_not_read": len(others) + 2 - len(held) if factors else 0,
        }
        text = [f"{len(names)} of {told['groups']} groups of tensors changed here"] if names else []
        if told["versions_not_read"]:
            text.append(f"the tensors of {told['versions_not_read']} other versions were not read: they count nowhere")
        return _Groups(factors, held, told, text)


def newest(graph: Graph) -> list[int]:
    """The versions whose edges are searched."""
    return sorted(graph.nodes, reverse=True)[:MAX_EDGES]


def _nearest(graph: Graph, bad: int, but: Collection[int], count: int) -> list[int]:
    return sorted((number for number in graph.nodes if number not in but), key=lambda one: abs(one - bad))[:count]


def _all_held(found: Mapping[int, Mapping[str, Any]], level: Level, factors: Sequence[Factor]) -> Held:
    return {number: _held(grouped(tensors, level), factors) for number, tensors in found.items()}


def _held(groups: Mapping[str, str], factors: Sequence[Factor]) -> list[Any]:
    return [groups.get(factor.name, NOTHING) for factor in factors]


def _reader(factors: list[Factor]) -> Callable[[int, Manifest], tuple[int, list[Any]]]:
    sections = {factor.section for factor in factors}

    def read(number: int, manifest: Manifest) -> tuple[int, list[Any]]:
        found = sections_of(manifest, sections)
        return number, [found[factor.section].get(factor.name, NOTHING) for factor in factors]

    return read


def shown_version(graph: Graph, number: int) -> Json:
    """A version as a bisect names it."""
    node = graph.nodes[number]
    return {
        "number": number,
        "id": node.id,
        "branch": node.branch,
        "operator": node.operator,
        "committed_at": rfc3339(node.committed_at),
    }
