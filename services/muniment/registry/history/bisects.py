"""Bisect over the registry's tables: the next version to test, the first bad one by a metric, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import asyncpg
from pydantic import Field

from muniment.contracts.errors import Rejected
from muniment.contracts.ids import ModelName, model_name
from muniment.contracts.model import Payload, Word, rfc3339
from muniment.registry.history.bisecting import next_step, search
from muniment.registry.history.factors import (
    MAX_FACTORS,
    Factor,
    Tally,
    as_json,
    changed_factors,
    ranked,
    sentences,
)
from muniment.registry.history.fields import Sections, same, sections_of
from muniment.registry.history.graph import Graph
from muniment.registry.history.judging import Predicate, judge
from muniment.registry.history.loading import Histories, Manifest
from muniment.registry.references import find_model, find_version
from muniment.registry.tolerances import Measured

Json = dict[str, Any]
MAX_EDGES: Final = 20_000
"""Versions, the newest, whose edges are searched for the same factors."""
MetricValues = Callable[[int, Iterable[int], Measured], Awaitable[dict[int, float]]]
"""Values of a metric by number: (model's id, numbers, metric)."""
Ref = Annotated[str, Field(max_length=300)]


class Question(Payload):
    """What a person or a command has found out so far. `metric` is only for the why at the end."""

    good: Annotated[tuple[Ref, ...], Field(min_length=1, max_length=1_000)]
    bad: Ref
    skipped: Annotated[tuple[Ref, ...], Field(max_length=1_000)] = ()
    metric: Word | None = None


@dataclass(frozen=True, slots=True)
class Bisects:
    """Answers bisect. `values` is where metrics come from."""

    histories: Histories
    values: MetricValues

    async def automatic(self, good: str, bad: str, rule: Predicate) -> Json:
        """The first version that is bad by stored metrics, and why. A version without the metric is skipped.

        Raises as `find_version`, `judge` and `next_step`; `Rejected` (`bisect_two_models`).
        """
        model, (first, last) = await self._numbers(None, [good, bad])
        graph = await self.histories.graph(model)
        suspects = graph.ancestors([last]) | {first}
        values = await self.values(model["id"], suspects | set(_newest(graph)), rule.metric)
        verdicts = judge(rule, {number: value for number, value in values.items() if number in suspects}, first, last)
        found = await asyncio.to_thread(search, graph, first, last, lambda number: verdicts.get(number, "skip"))
        return {
            "model": model["name"],
            "good": _shown(graph, first),
            "bad": _shown(graph, last),
            "metric": str(rule.metric),
            "rule": rule.rule,
            "by": rule.by,
            "limit": rule.limit(values[first]),
            "first_bad": [_shown(graph, number) for number in found.first_bad],
            "tested": [
                {"number": number, "verdict": verdict, "value": values.get(number)} for number, verdict in found.tested
            ],
            "why": await self._why(model, graph, found.first_bad, values, rule),
        }

    async def step(self, name: str, question: Question) -> Json:
        """The next version to test, or the first bad one and what changed on the way to it.

        Deleted versions are skipped. Raises as `automatic`.
        """
        refs = [question.bad, *question.good, *question.skipped]
        model, numbers = await self._numbers(model_name(name), refs)
        good = numbers[1 : 1 + len(question.good)]
        graph = await self.histories.graph(model)
        deleted = {number for number, node in graph.nodes.items() if node.deleted}
        skipped = deleted | set(numbers[1 + len(good) :])
        step = await asyncio.to_thread(next_step, graph, good, numbers[0], skipped)
        answer: Json = {"model": model["name"], "left": step.left, "steps": step.steps}
        if step.next is not None:
            return {**answer, "next": _shown(graph, step.next)}
        values: Mapping[int, float] = {}
        if question.metric is not None:
            values = await self.values(model["id"], _newest(graph), Measured(question.metric))
        why = await self._why(model, graph, step.first_bad, values, None)
        return {**answer, "first_bad": [_shown(graph, number) for number in step.first_bad], "why": why}

    async def _numbers(self, name: ModelName | None, refs: list[str]) -> tuple[asyncpg.Record, list[int]]:
        numbers = []
        names = [] if name is None else [name]
        async with self.histories.pool.acquire(timeout=30) as connection:
            for ref in refs:
                row = await find_version(connection, ref)
                numbers.append(row["number"])
                names.append(row["model"])
            if len({one.lower() for one in names}) > 1:
                raise Rejected(
                    "bisect_two_models",
                    "a bisect is within one model",
                    expected=names[0],
                    actual=next(one for one in names if one.lower() != names[0].lower()),
                )
            return await find_model(connection, model_name(names[0])), numbers

    async def _why(
        self,
        model: asyncpg.Record,
        graph: Graph,
        suspects: tuple[int, ...],
        values: Mapping[int, float],
        rule: Predicate | None,
    ) -> Json:
        """What changed from the last version known to be good to the bad one, held against the model's other edges."""
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
        looked = _newest(graph)
        read = _reader(shown)
        held: dict[int, list[Any]] = {}
        if shown:
            async for some in self.histories.each_manifest(model_id, graph, looked, read):
                held |= dict(some)
        found = ranked(await asyncio.to_thread(_tallies, graph, held, shown, {*suspects}, values, rule))
        text = sentences(found, _effect(rule, values.get(base), values.get(bad)))
        if len(suspects) > 1:
            text.append(f"{len(suspects)} versions lie between: skipped ones cannot be told from the first bad one")
        return {
            "base": _shown(graph, base),
            "version": _shown(graph, bad),
            "other_parents": [_shown(graph, number) for number in graph.parents(bad)[1:]],
            "value_before": values.get(base),
            "value_after": values.get(bad),
            "factors": as_json(found),
            "factors_left_out": len(factors) - len(shown),
            "edges_of": len(looked),
            "all_edges": len(looked) == len(graph.nodes),
            "text": text,
        }


def _newest(graph: Graph) -> list[int]:
    return sorted(graph.nodes, reverse=True)[:MAX_EDGES]


_NOTHING: Final = object()


def _reader(factors: list[Factor]) -> Callable[[int, Manifest], tuple[int, list[Any]]]:
    sections = {factor.section for factor in factors}

    def read(number: int, manifest: Manifest) -> tuple[int, list[Any]]:
        found = sections_of(manifest, sections)
        return number, [found[factor.section].get(factor.name, _NOTHING) for factor in factors]

    return read


def _tallies(
    graph: Graph,
    held: Mapping[int, list[Any]],
    factors: list[Factor],
    suspects: set[int],
    values: Mapping[int, float],
    rule: Predicate | None,
) -> list[Tally]:
    found = [Tally(factor) for factor in factors]
    for number, mine in held.items():
        if number in suspects:
            continue
        for parent in graph.parents(number):
            theirs = held.get(parent)
            if theirs is None:
                continue
            before, after = values.get(parent), values.get(number)
            delta = None if before is None or after is None else after - before
            regressed = rule.regressed(before, after) if rule else None
            for tally, one, other in zip(found, theirs, mine, strict=True):
                gone = (one is _NOTHING) != (other is _NOTHING)
                if gone or not same(one, other):
                    was = None if one is _NOTHING else one
                    now = None if other is _NOTHING else other
                    tally.add(parent, number, was, now, delta, regressed)
    return found


def _effect(rule: Predicate | None, before: float | None, after: float | None) -> str:
    if rule is None or before is None or after is None:
        return "what was found bad"
    return f"{rule.metric} going from {before:g} to {after:g} here"


def _shown(graph: Graph, number: int) -> Json:
    node = graph.nodes[number]
    return {
        "number": number,
        "id": node.id,
        "branch": node.branch,
        "operator": node.operator,
        "committed_at": rfc3339(node.committed_at),
    }
