"""What edges say by the words of a person: no more than was said and what a bisect takes from it."""

from __future__ import annotations

from datetime import UTC, datetime

from muniment.registry.history.evidence import ByVerdicts
from muniment.registry.history.graph import PREVIOUS, Edge, Graph, Node
from muniment.registry.tolerances import Measured

EDGES: dict[int, list[int]] = {1: [], 2: [1], 3: [2], 4: [3], 5: [2, 4], 6: [5], 7: [6], 8: [3]}
"""5 merges 4 into what came from 2; 8 is a branch of its own."""


def graph() -> Graph:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Graph(
        {
            number: Node(
                number, f"id{number}", "main", "ada", now, edges=tuple(Edge(PREVIOUS, f"id{p}", p) for p in parents)
            )
            for number, parents in EDGES.items()
        }
    )


def test_edges_tell_what_follows_from_what_was_said() -> None:
    said = ByVerdicts.of(graph(), good=[3], bad=[6, 4], first_bad=4, metric=None, values={})
    told = {(parent, number): said.regressed(parent, number) for number, parents in EDGES.items() for parent in parents}
    assert told == {
        (1, 2): False,  # both lead to a good one
        (2, 3): False,
        (3, 4): True,
        (2, 5): True,  # it brought the first bad version along
        (4, 5): None,  # bad before
        (5, 6): None,
        (6, 7): None,
        (3, 8): None,  # nobody spoke of 8
    }
    assert said.effect(3, 4) == "version 4 being bad where version 3 is good"


def test_what_was_said_of_a_version_itself_stands_above_what_follows() -> None:
    said = ByVerdicts.of(graph(), good=[3, 5], bad=[6, 2], first_bad=4, metric=Measured("f1"), values={3: 0.9, 4: 0.5})
    assert said.regressed(1, 2) is True
    assert said.regressed(2, 3) is None
    assert said.regressed(5, 6) is True
    assert said.effect(3, 4).endswith("(f1 going from 0.9 to 0.5 here)")
