"""Where else a factor changed: an edge into a merge is no new trial of what the merge brings along."""

from __future__ import annotations

from datetime import UTC, datetime

from muniment.registry.history.evidence import ByMetric
from muniment.registry.history.factors import Factor, Tally, sentences
from muniment.registry.history.graph import PREVIOUS, Edge, Graph, Node
from muniment.registry.history.judging import Predicate
from muniment.registry.history.tallying import NOTHING, Held, tallies
from muniment.registry.tolerances import Measured

EDGES: dict[int, list[int]] = {1: [], 2: [1], 3: [1], 4: [2, 3], 5: [4]}
"""2 is on main and 3 an experiment; 4 merges the experiment into main."""
ACCURACY = {1: 0.9, 2: 0.91, 3: 0.8, 4: 0.8, 5: 0.8}


def counted(held: Held) -> Tally:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    nodes = {
        number: Node(number, f"id{number}", "main", "ada", now, edges=tuple(Edge(PREVIOUS, f"id{p}", p) for p in found))
        for number, found in EDGES.items()
    }
    evidence = ByMetric(Predicate(Measured("accuracy"), "drop", 0.02), ACCURACY)
    (tally,) = tallies(Graph(nodes), held, [Factor("hyperparams", "lr", 0.1, 0.5)], {3}, evidence)
    return tally


def test_what_a_merge_brings_along_is_said_to_be_no_new_trial() -> None:
    tally = counted({1: [0.1], 2: [0.1], 3: [0.5], 4: [0.5], 5: [0.5]})
    assert [(one.parent, one.number, one.regressed, one.brought) for one in tally.elsewhere] == [(2, 4, True, True)]
    assert "1 is a merge that brought it along: no new trial" in sentences([tally], "it")[0]


def test_what_a_merge_sets_anew_is_counted() -> None:
    tally = counted({1: [0.1], 2: [0.1], 3: [0.5], 4: [0.7], 5: [0.5]})
    assert {(one.parent, one.number): one.regressed for one in tally.elsewhere} == {
        (2, 4): True,
        (3, 4): False,
        (4, 5): False,
    }
    assert not tally.brought


def test_a_value_that_appears_or_goes_is_a_change() -> None:
    tally = counted({1: [0.1], 2: [NOTHING], 3: [0.1], 4: [0.1], 5: [0.1]})
    assert {(one.parent, one.number): (one.before, one.after, one.brought) for one in tally.elsewhere} == {
        (1, 2): (0.1, None, False),
        (2, 4): (None, 0.1, True),
    }
