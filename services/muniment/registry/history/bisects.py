"""Bisect over the registry's tables: the next version to test, the first bad one by a metric, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

import asyncpg
from pydantic import Field

from muniment.contracts.errors import Rejected
from muniment.contracts.ids import ModelName, model_name
from muniment.contracts.model import Payload, Word
from muniment.registry.history.bisecting import next_step, search
from muniment.registry.history.evidence import ByMetric, ByVerdicts
from muniment.registry.history.judging import Predicate, judge
from muniment.registry.history.loading import Histories
from muniment.registry.history.why import Whys, newest, shown_version
from muniment.registry.references import find_model, find_version
from muniment.registry.tolerances import Measured

Json = dict[str, Any]
MetricValues = Callable[[int, Iterable[int], Measured], Awaitable[dict[int, float]]]
"""Values of a metric by number: (model's id, numbers, metric)."""
Ref = Annotated[str, Field(max_length=300)]


class Question(Payload):
    """What a person or a command has found out so far.

    `known_bad` (the versions called bad before `bad`) and `metric` are only for the why at the end.
    """

    good: Annotated[tuple[Ref, ...], Field(min_length=1, max_length=1_000)]
    bad: Ref
    known_bad: Annotated[tuple[Ref, ...], Field(max_length=1_000)] = ()
    skipped: Annotated[tuple[Ref, ...], Field(max_length=1_000)] = ()
    metric: Word | None = None


@dataclass(frozen=True, slots=True)
class Bisects:
    """Answers bisect. `values` is where metrics come from."""

    histories: Histories
    values: MetricValues
    whys: Whys

    async def automatic(self, good: str, bad: str, rule: Predicate) -> Json:
        """The first version that is bad by stored metrics, and why. A version without the metric is skipped.

        Raises as `find_version`, `judge` and `next_step`; `Rejected` (`bisect_two_models`).
        """
        model, (first, last) = await self._numbers(None, [good, bad])
        graph = await self.histories.graph(model)
        suspects = graph.ancestors([last]) | {first}
        values = await self.values(model["id"], suspects | set(newest(graph)), rule.metric)
        verdicts = judge(rule, {number: value for number, value in values.items() if number in suspects}, first, last)
        found = await asyncio.to_thread(search, graph, first, last, lambda number: verdicts.get(number, "skip"))
        return {
            "model": model["name"],
            "good": shown_version(graph, first),
            "bad": shown_version(graph, last),
            "metric": str(rule.metric),
            "rule": rule.rule,
            "by": rule.by,
            "limit": rule.limit(values[first]),
            "first_bad": [shown_version(graph, number) for number in found.first_bad],
            "tested": [
                {"number": number, "verdict": verdict, "value": values.get(number)} for number, verdict in found.tested
            ],
            "why": await self.whys.of(model, graph, found.first_bad, ByMetric(rule, values)),
        }

    async def step(self, name: str, question: Question) -> Json:
        """The next version to test, or the first bad one and what changed on the way to it.

        Deleted versions are skipped. Raises as `automatic`.
        """
        refs = [question.bad, *question.good, *question.known_bad, *question.skipped]
        model, numbers = await self._numbers(model_name(name), refs)
        given = iter(numbers)
        last = next(given)
        good = list(islice(given, len(question.good)))
        bad = [last, *islice(given, len(question.known_bad))]
        graph = await self.histories.graph(model)
        deleted = {number for number, node in graph.nodes.items() if node.deleted}
        step = await asyncio.to_thread(next_step, graph, good, last, deleted.union(given))
        answer: Json = {"model": model["name"], "left": step.left, "steps": step.steps}
        if step.next is not None:
            return {**answer, "next": shown_version(graph, step.next)}
        metric = None if question.metric is None else Measured(question.metric)
        values = {} if metric is None else await self.values(model["id"], newest(graph), metric)
        evidence = ByVerdicts.of(graph, good, bad, step.first_bad[-1], metric, values)
        why = await self.whys.of(model, graph, step.first_bad, evidence)
        return {**answer, "first_bad": [shown_version(graph, number) for number in step.first_bad], "why": why}

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
