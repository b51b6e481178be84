"""Why a version may be bad: what changed on the way to it, held against where else the same changed. Pure.

Nothing here knows a cause. A factor that changed on many edges without harm is less suspicious than one that changed
here alone, and one whose very same change did harm elsewhere is the most suspicious.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from muniment.registry.history.fields import TENSORS, Scalar, Sections, field_name, same

MAX_FACTORS: Final = 50
"""Factors that are looked at; how many more there were is said."""
MAX_EVIDENCE: Final = 10
"""Other edges that are shown for a factor; all are counted."""
MAX_SENTENCES: Final = 8
_DIGEST: Final = re.compile(r"(sha256:)?[0-9a-f]{40,64}")
KINDS: Final = {
    "datasets": "dataset",
    "hyperparams": "hyperparameter",
    "params": "parameter",
    "code": "code",
    "environment.packages": "package",
    "environment": "environment",
    "environment.hardware": "hardware",
    "files": "file",
    TENSORS: "tensor group",
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
    """The same field changed on another edge. `regressed` is None where the metric does not tell.

    `brought`: the edge leads into a merge that has the value from another of its parents.
    """

    parent: int
    number: int
    before: Scalar
    after: Scalar
    delta: float | None
    regressed: bool | None
    brought: bool = False


@dataclass(slots=True)
class Tally:
    """What happened where a factor's field changed elsewhere: all edges counted, the first of each sort kept."""

    factor: Factor
    changed: int = 0
    regressed: int = 0
    unharmed: int = 0
    same_change: int = 0
    same_regressed: int = 0
    same_unharmed: int = 0
    brought: int = 0
    _same: list[Elsewhere] = field(default_factory=list)
    _harmed: list[Elsewhere] = field(default_factory=list)
    _others: list[Elsewhere] = field(default_factory=list)

    def add(self, one: Elsewhere) -> None:
        """Count an edge; the newest come first."""
        is_same = same(one.before, self.factor.before) and same(one.after, self.factor.after)
        self.changed += 1
        self.brought += one.brought
        self.same_change += is_same
        if one.regressed is not None:
            self.regressed += one.regressed
            self.unharmed += not one.regressed
            self.same_regressed += is_same and one.regressed
            self.same_unharmed += is_same and not one.regressed
        kept = self._same if is_same else self._harmed if one.regressed else self._others
        if len(kept) < MAX_EVIDENCE:
            kept.append(one)

    @property
    def elsewhere(self) -> list[Elsewhere]:
        """The edges that say most: those with the very same change, then those that regressed."""
        return [*self._same, *self._harmed, *self._others][:MAX_EVIDENCE]

    @property
    def score(self) -> float:
        """Between 0 and 1, and only good for sorting: Laplace's rule of succession over the edges where the metric
        tells; one with the very same change counts four times.
        """
        told = self.regressed + self.unharmed + 3 * (self.same_regressed + self.same_unharmed)
        return (1 + self.regressed + 3 * self.same_regressed) / (2 + told)


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


def ranked(tallies: Iterable[Tally]) -> list[Tally]:
    """The most suspicious first; of equals, in the order of the kinds."""
    return sorted(tallies, key=lambda one: -one.score)


def sentences(found: Sequence[Tally], effect: str) -> list[str]:
    """What can be said, and no more. `effect`: `accuracy going from 0.97 to 0.81 here`."""
    lines = [_sentence(one, effect) for one in found[:MAX_SENTENCES]]
    if len(found) > MAX_SENTENCES:
        lines.append(f"{len(found) - MAX_SENTENCES} more factors changed, none of them more consistent with it")
    if len(found) > 1:
        lines.append(
            f"{len(found)} factors changed together here: this edge alone cannot tell them apart, "
            "and the order says only what happened where they changed elsewhere"
        )
    if not found:
        lines.append("no recorded factor changed here: what differs was not recorded")
    return lines


def _sentence(one: Tally, effect: str) -> str:
    factor = one.factor
    text = _change(factor)
    if not one.changed:
        return f"{text}, on this edge alone: consistent with {effect}"
    times = f"it changed on {one.changed} other {'edge' if one.changed == 1 else 'edges'}"
    told = f"{one.regressed} of them regressed, {one.unharmed} did not"
    if unknown := one.changed - one.regressed - one.unharmed:
        told += f", of {unknown} it is not known"
    if one.same_change:
        told += f"; {one.same_change} made the very same change, {one.same_regressed} of them regressed"
    if one.brought:
        merges = "is a merge" if one.brought == 1 else "are merges"
        told += f"; {one.brought} {merges} that brought it along: no new trial"
    shown = next((other for other in one.elsewhere if other.delta is not None), None)
    if shown is not None:
        told += f"; from version {shown.parent} to {shown.number} the metric went by {shown.delta:+.3g}"
    weight = "less consistent with" if one.score < 0.4 else "consistent with"
    return f"{text}; {times}, {told}: {weight} {effect}"


def _change(factor: Factor) -> str:
    if factor.section != TENSORS:
        return f"{factor.field} went from {_shown(factor.before)} to {_shown(factor.after)}"
    verb = "are new" if factor.before is None else "are gone" if factor.after is None else "changed"
    return f"{factor.field}.* {verb}"


def _shown(value: Scalar) -> str:
    text = "nothing" if value is None else str(value)
    if _DIGEST.fullmatch(text):
        return text[: text.find(":") + 13]
    return text if len(text) <= 60 else text[:57] + "..."


def as_json(found: Iterable[Tally]) -> list[dict[str, Any]]:
    """The tallies with all their evidence."""
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
            "brought_by_merges": one.brought,
            "elsewhere": [
                {
                    "parent": other.parent,
                    "number": other.number,
                    "before": other.before,
                    "after": other.after,
                    "delta": other.delta,
                    "regressed": other.regressed,
                    "brought": other.brought,
                }
                for other in one.elsewhere
            ],
        }
        for one in found
    ]
