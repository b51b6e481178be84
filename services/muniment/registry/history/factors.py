"""Why a version may be bad: what changed on the way to it, held against where else the same changed. Pure.

Nothing here knows a cause. A factor that changed on many edges without harm is less suspicious than one that changed
here alone, and one whose very same change did harm elsewhere is the most suspicious.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from muniment.registry.history.fields import TENSORS, Scalar, Sections, field_name, same

MAX_FACTORS: Final = 50
"""Factors that are looked at; how many more there were is said."""
MAX_EVIDENCE: Final = 10
"""Other edges that are shown for a factor; all are counted."""
KINDS: Final = {
    "datasets": "dataset",
    "hyperparams": "hyperparameter",
    "params": "parameter",
    "code": "code",
    "environment.packages": "package",
    "environment": "environment",
    "environment.hardware": "hardware",
    TENSORS: "tensor",
    "files": "file",
}
"""By section. Metrics are effects and ids of runs are nothing: they are no factors."""


@dataclass(frozen=True, slots=True)
class Factor:
    """A field that differs between two versions; None where one has no such field."""

    section: str
    name: str
    before: Scalar
    after: Scalar

    @property
    def field(self) -> str:
        """The full name."""
        return field_name(self.section, self.name)

    @property
    def kind(self) -> str:
        """What it is to a person."""
        return KINDS[self.section]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The same field changed on another edge. `regressed` is None where the metric does not tell."""

    parent: int
    number: int
    before: Scalar
    after: Scalar
    delta: float | None
    regressed: bool | None


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A factor with what happened where it changed elsewhere. `score` is between 0 and 1 and only good for sorting."""

    factor: Factor
    elsewhere: tuple[Elsewhere, ...]
    changed: int
    regressed: int
    unharmed: int
    same_change: int
    same_regressed: int
    score: float


def changed_factors(before: Sections, after: Sections) -> list[Factor]:
    """The fields that differ and may have had an effect."""
    found: list[Factor] = []
    for section in KINDS:
        one, other = before.get(section, {}), after.get(section, {})
        found += [
            Factor(section, name, one.get(name), other.get(name))
            for name in sorted({*one, *other})
            if (name in one) != (name in other) or not same(one[name], other[name])
        ]
    return found


def suspicions(factors: Sequence[Factor], elsewhere: Mapping[str, Sequence[Elsewhere]]) -> list[Suspicion]:
    """The factors, the most suspicious first. `elsewhere`: by field, the other edges where it changed."""
    # The sort is stable: of equals, the kinds keep their order.
    return sorted(
        (_suspicion(factor, elsewhere.get(factor.field, ())) for factor in factors), key=lambda one: -one.score
    )


def _suspicion(factor: Factor, others: Sequence[Elsewhere]) -> Suspicion:
    told = [other for other in others if other.regressed is not None]
    equal = [other for other in others if _is_same(other, factor)]
    equal_told = [other for other in equal if other.regressed is not None]
    regressed = sum(bool(other.regressed) for other in told)
    same_regressed = sum(bool(other.regressed) for other in equal_told)
    # Laplace's rule of succession; an edge with the very same change counts four times.
    score = (1 + regressed + 3 * same_regressed) / (2 + len(told) + 3 * len(equal_told))
    shown = sorted(others, key=lambda other: (not _is_same(other, factor), not other.regressed, -other.number))
    return Suspicion(
        factor,
        tuple(shown[:MAX_EVIDENCE]),
        len(others),
        regressed,
        len(told) - regressed,
        len(equal),
        same_regressed,
        score,
    )


def sentences(found: Sequence[Suspicion], effect: str) -> list[str]:
    """What can be said, and no more. `effect`: `accuracy going from 0.97 to 0.81 here`."""
    lines = [_sentence(one, effect) for one in found]
    if len(found) > 1:
        lines.append(
            f"{len(found)} factors changed together here: this edge alone cannot tell them apart, "
            "and the order says only what happened where they changed elsewhere"
        )
    if not found:
        lines.append("no recorded factor changed here: what differs was not recorded")
    return lines


def _sentence(one: Suspicion, effect: str) -> str:
    factor = one.factor
    text = f"{factor.field} went from {_shown(factor.before)} to {_shown(factor.after)}"
    if not one.changed:
        return f"{text}, on this edge alone: consistent with {effect}"
    times = f"it changed on {one.changed} other {'edge' if one.changed == 1 else 'edges'}"
    told = f"{one.regressed} of them regressed, {one.unharmed} did not"
    if one.same_change:
        told += f"; {one.same_change} made the very same change, {one.same_regressed} of them regressed"
    weight = "less consistent with" if one.score < 0.4 else "consistent with"
    return f"{text}; {times}, {told}: {weight} {effect}"


def _is_same(other: Elsewhere, factor: Factor) -> bool:
    return same(other.before, factor.before) and same(other.after, factor.after)


def _shown(value: Scalar) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def as_json(found: Iterable[Suspicion]) -> list[dict[str, Any]]:
    """The suspicions with all their evidence."""
    return [
        {
            "field": one.factor.field,
            "kind": one.factor.kind,
            "before": one.factor.before,
            "after": one.factor.after,
            "score": round(one.score, 3),
            "changed_elsewhere": one.changed,
            "regressed_elsewhere": one.regressed,
            "unharmed_elsewhere": one.unharmed,
            "same_change_elsewhere": one.same_change,
            "same_change_regressed": one.same_regressed,
            "elsewhere": [
                {
                    "parent": other.parent,
                    "number": other.number,
                    "before": other.before,
                    "after": other.after,
                    "delta": other.delta,
                    "regressed": other.regressed,
                }
                for other in one.elsewhere
            ],
        }
        for one in found
    ]
