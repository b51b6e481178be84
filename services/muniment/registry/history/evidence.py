"""Whether a change from a version to its child made things worse: by stored metrics, or by what somebody said. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from muniment.registry.history.graph import Graph
from muniment.registry.history.judging import Predicate
from muniment.registry.tolerances import Measured


class Evidence(Protocol):
    """What a why is told from."""

    @property
    def values(self) -> Mapping[int, float]:
        """The metric's values by number, where one is named."""
        ...

    def regressed(self, parent: int, number: int) -> bool | None:
        """Whether it went bad on this edge; None where that cannot be told."""
        ...

    def effect(self, base: int, bad: int) -> str:
        """What is to be explained: `accuracy going from 0.97 to 0.81 here`."""
        ...

    @property
    def notes(self) -> list[str]:
        """What a reader must know of how edges were told apart."""
        ...


@dataclass(frozen=True, slots=True)
class ByMetric:
    """Stored metrics and a rule."""

    rule: Predicate
    values: Mapping[int, float]

    def regressed(self, parent: int, number: int) -> bool | None:
        """As the rule says of the two values."""
        return self.rule.regressed(self.values.get(parent), self.values.get(number))

    def effect(self, base: int, bad: int) -> str:
        """The metric before and after."""
        before, after = self.values.get(base), self.values.get(bad)
        if before is None or after is None:
            return "what was found bad"
        return f"{self.rule.metric} going from {before:g} to {after:g} here"

    @property
    def notes(self) -> list[str]:
        """None: the values stand beside the edges."""
        return []


@dataclass(frozen=True, slots=True)
class ByVerdicts:
    """What a person or a command said, and what a bisect takes from it: what leads to a good version is good, and what
    comes from the first bad one on the way to a bad one is bad. Of other versions nothing is known. What was said of a
    version itself stands above both.
    """

    good: frozenset[int]
    bad: frozenset[int]
    metric: Measured | None = None
    values: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        graph: Graph,
        good: Collection[int],
        bad: Collection[int],
        first_bad: int,
        metric: Measured | None,
        values: Mapping[int, float],
    ) -> ByVerdicts:
        """From the versions that were called good and bad, and where the search ended."""
        after = {first_bad}
        for number in sorted(graph.ancestors(bad)):
            if not after.isdisjoint(graph.parents(number)):
                after.add(number)
        said_good, said_bad = frozenset(good), frozenset(bad)
        return cls(
            frozenset(graph.ancestors(good)) - said_bad | said_good,
            frozenset(after) - said_good | said_bad,
            metric,
            values,
        )

    def regressed(self, parent: int, number: int) -> bool | None:
        """From a good version to a bad one, or to a good one. What was bad before cannot regress."""
        if parent not in self.good or (number not in self.good and number not in self.bad):
            return None
        return number in self.bad

    def effect(self, base: int, bad: int) -> str:
        """Which version was found bad beside which, and the metric where one was named."""
        text = f"version {bad} being bad where version {base} is good"
        before, after = self.values.get(base), self.values.get(bad)
        if self.metric is None or before is None or after is None:
            return text
        return f"{text} ({self.metric} going from {before:g} to {after:g} here)"

    @property
    def notes(self) -> list[str]:
        """How the words of people became edges."""
        return [
            "an edge regressed where it leads from a good version to a bad one, by what was said of them and by what "
            "follows: what leads to a good version is taken as good, what comes from the first bad one as bad"
        ]
