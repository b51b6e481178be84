"""How far a metric may be from the baseline's: the tolerances of a model's contract, and their judgement. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field, model_validator

from muniment.contracts.events import Direction, Gate
from muniment.contracts.model import Number, Payload, Word

BOUND_SHARE: Final = 0.04
"""With the usual hysteresis of a quarter, a metric that fell below a floor of 80 has recovered at 80.8."""


class Tolerance(Payload):
    """How much worse than the baseline one metric may be, over all data or on one slice of one dataset.

    Just one of `absolute` (in the metric's unit) and `relative` (a share of the baseline's absolute value: 0.02 is
    2 %) says how much; `bound` is a limit that holds whatever the baseline has: a floor where higher is better, else
    a ceiling. `hysteresis` is the part of the tolerance that a metric which has broken it must win back before it
    counts as recovered; where the baseline's value does not say how wide the tolerance is, `bound_width` does.
    """

    metric: Word
    slice: Word | None = None
    dataset: Word | None = None
    direction: Direction = "higher"
    absolute: Annotated[Number, Field(ge=0)] | None = None
    relative: Annotated[Number, Field(ge=0, le=1000)] | None = None
    bound: Number | None = None
    hysteresis: Annotated[Number, Field(ge=0, le=1)] = 0.25

    @model_validator(mode="after")
    def _says_how_much(self) -> Tolerance:
        if self.absolute is not None and self.relative is not None:
            raise ValueError("tolerance_ambiguous: give absolute or relative, not both")
        if self.absolute is None and self.relative is None and self.bound is None:
            raise ValueError("tolerance_empty: give absolute, relative or bound")
        return self

    @property
    def key(self) -> Measured:
        """What it is about."""
        return Measured(self.metric, self.dataset, self.slice)

    def limit(self, baseline: float | None) -> float | None:
        """The worst value that is allowed beside this one of the baseline; None where nothing says."""
        limits = [] if self.bound is None else [self.bound]
        if baseline is not None and (self.absolute is not None or self.relative is not None):
            allowed = self.absolute if self.absolute is not None else (self.relative or 0.0) * abs(baseline)
            limits.append(baseline - allowed if self.direction == "higher" else baseline + allowed)
        if not limits:
            return None
        return max(limits) if self.direction == "higher" else min(limits)

    def holds(self, value: float, limit: float) -> bool:
        """Whether a value is on the allowed side of the limit, or at it. NaN never is."""
        if math.isnan(value):
            return False
        return value >= limit if self.direction == "higher" else value <= limit

    def recovers(self, value: float, limit: float, baseline: float | None) -> bool:
        """Whether a metric that has broken the limit is back: better than it by `hysteresis` of the way to the
        baseline's value; of `bound_width` where that is not known, or itself beyond the limit.
        """
        if baseline is not None and self.holds(baseline, limit):
            back = limit + self.hysteresis * (baseline - limit)
            # Rounding may pass the baseline, where the two are of very different size; itself it always is back.
            return self.holds(value, min(back, baseline) if self.direction == "higher" else max(back, baseline))
        width = bound_width(limit, self.direction)
        return self.holds(value, limit + self.hysteresis * (width if self.direction == "higher" else -width))


def bound_width(bound: float, direction: Direction) -> float:
    """How wide a tolerance counts that has a bound alone: 4 % of the bound's absolute value.

    A floor from 0 to 1 may be that of a share, which 1 ends: there it is no wider than what is left up to 1, so that
    the metric can always come back. A bound of 0 has no width, since nothing tells what is small beside it.
    """
    width = BOUND_SHARE * abs(bound)
    return min(width, 1.0 - bound) if direction == "higher" and 0 <= bound <= 1 else width


@dataclass(frozen=True, slots=True)
class Measured:
    """What a value is of: a metric, on a dataset and a slice of it, where they are named."""

    metric: str
    dataset: str | None = None
    slice: str | None = None

    def __str__(self) -> str:
        """`accuracy`, `accuracy[slice]`, `accuracy on dataset`, `accuracy[slice] on dataset`."""
        name = f"{self.metric}[{self.slice}]" if self.slice else self.metric
        return f"{name} on {self.dataset}" if self.dataset else name


Values = Mapping[Measured, float]


def judge(tolerances: Sequence[Tolerance], baseline: Values | None, candidate: Values) -> list[Gate]:
    """One gate for each tolerance. A metric that the candidate lacks fails; one that the baseline lacks binds nothing
    beyond the tolerance's own bound.
    """
    return [_gate(tolerance, baseline or {}, candidate) for tolerance in tolerances]


def _gate(tolerance: Tolerance, baseline: Values, candidate: Values) -> Gate:
    name = f"tolerance {tolerance.key}"
    before, value = baseline.get(tolerance.key), candidate.get(tolerance.key)
    limit = tolerance.limit(before)
    sign = ">=" if tolerance.direction == "higher" else "<="
    expected = "measured" if limit is None else f"{sign} {limit:.6g}"
    if before is not None:
        expected += f" (the baseline has {before:.6g})"
    if value is None:
        hint = f"muniment evaluate REF --metric {tolerance.metric}=NUMBER"
        return Gate(name=name, passed=False, expected=expected, actual="not measured", hint=hint)
    passed = limit is None or tolerance.holds(value, limit)
    return Gate(name=name, passed=passed, expected=expected, actual=f"{value:.6g}")
