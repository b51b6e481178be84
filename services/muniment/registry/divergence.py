"""Whether measurements keep to the baseline's tolerances, and since when not. Pure.

A line of measurements is either `baseline` (evaluations and observations of the baseline's version, over time) or
`main` (evaluations of the versions of main that are newer than the baseline, in the order of their numbers). The two
are judged apart: a bad newer version says nothing of what runs, nor a good observation anything of a newer version.

A tolerance is broken by the first measurement beyond its limit and holds again from the first that
`Tolerance.recovers`: a Schmitt trigger, so values that wobble around the limit turn nothing. The band between the two
is `hysteresis` of the way from the limit to the baseline's own value; while that is not known (or is itself beyond the
limit) of `tolerances.bound_width`, a share of the bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from muniment.registry.tolerances import Tolerance

Line = Literal["baseline", "main"]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where on its line a measurement stands: by the version's number, then by time."""

    number: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """How one tolerance stands on one line."""

    judged: Place
    """The newest measurement that was judged."""
    value: float
    """Its value."""
    first: Place | None = None
    """The first measurement that broke it; None while it holds."""
    held: Place | None = None
    """The measurement with which it recovered last."""

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return self.first is not None


@dataclass(frozen=True, slots=True)
class Turn:
    """A tolerance was broken, or holds again: since when it was broken, and the value that turned it."""

    recovered: bool
    first: Place
    value: float


def line_of(number: int, branch: str, kind: str, baseline: int) -> Line | None:
    """The line that measurements of a version belong to; None where the baseline has nothing to do with them."""
    if number == baseline:
        return "baseline"
    if number > baseline and branch == "main" and kind == "evaluation":
        return "main"
    return None


def follow(
    tolerance: Tolerance,
    reference: float | None,
    standing: Standing | None,
    points: Iterable[tuple[Place, float]],
) -> tuple[Standing | None, list[Turn]]:
    """How the tolerance stands after these measurements, and the turns to tell: one or two at most.

    A batch that turns often is told by its end: the last turn where it ends otherwise than it began, else the last
    two. A measurement that comes late (an older one than was judged before) never turns anything; it only moves
    `first` back where it broke the tolerance in the same stretch.
    """
    limit = tolerance.limit(reference)
    if limit is None:
        return standing, []
    turns: list[Turn] = []
    for place, value in sorted(points, key=lambda point: point[0]):
        if standing is not None and place < standing.judged:
            standing = _late(standing, place, breaks=not tolerance.holds(value, limit))
            continue
        first, held = (standing.first, standing.held) if standing else (None, None)
        if first is None and not tolerance.holds(value, limit):
            first = place
            turns.append(Turn(False, place, value))
        elif first is not None and tolerance.recovers(value, limit, reference):
            turns.append(Turn(True, first, value))
            first, held = None, place
        standing = Standing(place, value, first, held)
    return standing, turns[-1:] if len(turns) % 2 else turns[-2:]


def _late(standing: Standing, place: Place, *, breaks: bool) -> Standing:
    same_stretch = standing.held is None or place > standing.held
    if breaks and same_stretch and standing.first is not None and place < standing.first:
        return replace(standing, first=place)
    return standing
