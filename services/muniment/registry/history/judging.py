"""When a metric's value counts as bad: by how far it is from the good version's, or by a threshold. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from muniment.contracts.errors import Conflict, Rejected
from muniment.registry.history.bisecting import Verdict
from muniment.registry.tolerances import Measured

Rule = Literal["drop", "rise", "below", "above"]


@dataclass(frozen=True, slots=True)
class Predicate:
    """`drop`, `rise`: further than `by` from the good version's value. `below`, `above`: beyond `by` itself."""

    metric: Measured
    rule: Rule
    by: float

    @property
    def is_relative(self) -> bool:
        """Whether the good version's value counts."""
        return self.rule in {"drop", "rise"}

    def limit(self, good: float) -> float:
        """The last value that is not bad."""
        return {"drop": good - self.by, "rise": good + self.by}.get(self.rule, self.by)

    def is_bad(self, value: float, limit: float) -> bool:
        """Whether a value is beyond the limit. The last digits of floating point never make a value bad."""
        near = math.isclose(value, limit, rel_tol=1e-9, abs_tol=1e-12)
        return not near and (value < limit if self.rule in {"drop", "below"} else value > limit)

    def regressed(self, before: float | None, after: float | None) -> bool | None:
        """Whether the metric went bad from one version to its child; None where that cannot be told."""
        if before is None or after is None:
            return None
        if self.is_relative:
            return self.is_bad(after, self.limit(before))
        return None if self.is_bad(before, self.by) else self.is_bad(after, self.by)


def predicate(metric: Measured, given: Mapping[Rule, float | None]) -> Predicate:
    """The one rule that was given. Raises `Rejected` (`bisect_rule_invalid`)."""
    rules = [(rule, by) for rule, by in given.items() if by is not None]
    if len(rules) != 1 or not math.isfinite(rules[0][1]) or (rules[0][0] in {"drop", "rise"} and rules[0][1] < 0):
        raise Rejected(
            "bisect_rule_invalid",
            "when the metric counts as bad is not understood",
            expected="one of drop, rise (a number from 0), below, above (a number)",
            actual=", ".join(f"{rule}={by:g}" for rule, by in rules) or "none of them",
            hint="for example --metric accuracy --drop 0.02",
        )
    return Predicate(metric, *rules[0])


def judge(rule: Predicate, values: Mapping[int, float], good: int, bad: int) -> dict[int, Verdict]:
    """The verdict on each version that has a value.

    Raises `Conflict`: `bisect_good_is_bad`, `bisect_bad_is_good`; `bisect_metric_missing` where one of them has none.
    """
    for name, number in (("good", good), ("bad", bad)):
        if number not in values:
            raise Conflict(
                "bisect_metric_missing",
                f"the {name} version has no value of {rule.metric}",
                expected=f"a version with {rule.metric}",
                actual=number,
                hint="name another version, or another metric",
            )
    limit = rule.limit(values[good])
    found: dict[int, Verdict] = {
        number: "bad" if rule.is_bad(value, limit) else "good" for number, value in values.items()
    }
    for name, number in (("good", good), ("bad", bad)):
        if found[number] != name:
            raise Conflict(
                f"bisect_{name}_is_{found[number]}",
                f"the version given as {name} is {found[number]} by {rule.metric} {rule.rule} {rule.by:g}",
                expected=f"{'at most' if rule.rule in {'rise', 'above'} else 'at least'} {limit:g} in good ones alone",
                actual=f"{values[number]:g} in version {number}",
                hint="another limit, or other versions",
            )
    return found
