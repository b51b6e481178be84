"""Where else the factors of a change changed, and what happened there. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from muniment.registry.history.evidence import Evidence
from muniment.registry.history.factors import Elsewhere, Factor, Tally
from muniment.registry.history.fields import same
from muniment.registry.history.graph import Graph

Held = dict[int, list[Any]]
"""For each version the value of each factor, `NOTHING` where it has none."""
NOTHING: Final = object()


def tallies(
    graph: Graph, held: Held, factors: Sequence[Factor], suspects: Collection[int], evidence: Evidence
) -> list[Tally]:
    """What happened where each factor changed elsewhere.

    A merge has a value from one of its parents more often than not. The edge from its other parent counts: a merge
    that brought one factor along and not the other tells them apart. But it is marked, since it is no second trial.
    """
    found = [Tally(factor) for factor in factors]
    values = evidence.values
    for number in sorted(held, reverse=True):  # the newest edges are shown first
        if number in suspects:
            continue
        mine = held[number]
        parents = graph.parents(number)
        known = [held[parent] for parent in parents if parent in held]
        for parent in parents:
            theirs = held.get(parent)
            if theirs is None:
                continue
            before, after = values.get(parent), values.get(number)
            delta = None if before is None or after is None else after - before
            regressed = evidence.regressed(parent, number)
            for place, (tally, one, other) in enumerate(zip(found, theirs, mine, strict=True)):
                if _equal(one, other):
                    continue
                brought = len(known) > 1 and any(_equal(its[place], other) for its in known)
                was = None if one is NOTHING else one
                now = None if other is NOTHING else other
                tally.add(Elsewhere(parent, number, was, now, delta, regressed, brought))
    return found


def _equal(one: Any, other: Any) -> bool:
    return (one is NOTHING) == (other is NOTHING) and same(one, other)
