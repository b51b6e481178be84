"""Which version to test next on the way from good ones to a bad one, and when the search is over. Pure.

As git does it (git-scm.com/docs/git-bisect-lk2009): the suspects are the ancestors of the bad version that no good one
has; a suspect with n suspects in all and w of them up to it halves best where min(w, n - w) is largest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from muniment.contracts.errors import Conflict
from muniment.registry.history.graph import Graph

Verdict = Literal["good", "bad", "skip"]


@dataclass(frozen=True, slots=True)
class Step:
    """Either `next` to test, or the end: `first_bad`, several where skipped ones cannot be told from it."""

    next: int | None
    first_bad: tuple[int, ...]
    left: int
    """Versions that may still have to be tested."""

    @property
    def steps(self) -> int:
        """About how many tests are left, this one included."""
        return self.left.bit_length()


@dataclass(frozen=True, slots=True)
class Found:
    """The end of a search, and what was tested on the way, in order."""

    first_bad: tuple[int, ...]
    tested: tuple[tuple[int, Verdict], ...]


def next_step(graph: Graph, good: Collection[int], bad: int, skipped: Collection[int] = ()) -> Step:
    """The next version to test. Raises `Conflict` (`bisect_bad_before_good`): a good one comes from the bad one."""
    known_good = graph.ancestors(good)
    if bad in known_good:
        raise Conflict(
            "bisect_bad_before_good",
            "a good version is the bad one, or comes from it",
            expected="a bad version that leads to no good one",
            actual=f"bad {bad}, good {', '.join(map(str, sorted(good)[:10]))}",
            hint="to find what made it better, give the old one as good and ask for the opposite",
        )
    return _step(graph, graph.ancestors([bad]) - known_good, bad, skipped)


def _step(graph: Graph, suspects: set[int], bad: int, skipped: Collection[int]) -> Step:
    open_ = [number for number in suspects if number != bad and number not in skipped]
    if not open_:
        return Step(None, tuple(sorted(suspects)), 0)
    weights = _weights(graph, suspects)
    chosen = max(open_, key=lambda number: (min(weights[number], len(suspects) - weights[number]), number))
    return Step(chosen, (), len(open_))


def search(graph: Graph, good: int, bad: int, verdict: Callable[[int], Verdict]) -> Found:
    """Test until the first bad version is found. Raises as `next_step`."""
    step = next_step(graph, [good], bad)
    suspects = graph.ancestors([bad]) - graph.ancestors([good])
    skipped: set[int] = set()
    tested: list[tuple[int, Verdict]] = []
    while step.next is not None:
        answer = verdict(step.next)
        tested.append((step.next, answer))
        # What leads to a suspect by way of no suspect leads to a good version: walks within the suspects are enough.
        if answer == "good":
            suspects -= graph.ancestors([step.next], within=suspects)
        elif answer == "bad":
            bad = step.next
            suspects = graph.ancestors([bad], within=suspects)
        else:
            skipped.add(step.next)
        step = _step(graph, suspects, bad, skipped)
    return Found(step.first_bad, tuple(tested))


def _weights(graph: Graph, suspects: set[int]) -> dict[int, int]:
    """For each suspect how many suspects lead to it, itself included.

    A set of suspects is an integer with a bit for each, let go when its last child is done: memory grows with the
    branches that run beside each other, not with the square of the history.
    """
    order = sorted(suspects)
    parents = {number: [one for one in graph.parents(number) if one in suspects] for number in order}
    children = Counter(parent for found in parents.values() for parent in found)
    sets: dict[int, int] = {}
    weights: dict[int, int] = {}
    for place, number in enumerate(order):
        reached = 1 << place
        for parent in parents[number]:
            reached |= sets[parent]
            children[parent] -= 1
            if not children[parent]:
                del sets[parent]
        weights[number] = reached.bit_count()
        if children[number]:
            sets[number] = reached
    return weights
