"""Random histories."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from muniment.registry.history.graph import PREVIOUS, Edge, Graph, Node

WHEN = datetime(2026, 1, 2, tzinfo=UTC)


def graph_of(parents: dict[int, list[int]]) -> Graph:
    return Graph(
        {
            number: Node(
                number,
                f"sha256:{number:064x}",
                "main",
                "ada",
                WHEN,
                edges=tuple(
                    Edge(PREVIOUS if not place else "merge", f"sha256:{parent:064x}", parent)
                    for place, parent in enumerate(found)
                ),
            )
            for number, found in parents.items()
        }
    )


@st.composite
def parents_of(draw: st.DrawFn, largest: int = 40) -> dict[int, list[int]]:
    """Each version with none to three earlier parents: lines, branches, merges, several roots."""
    count = draw(st.integers(1, largest))
    found: dict[int, list[int]] = {1: []}
    for number in range(2, count + 1):
        near = st.one_of(st.just(number - 1), st.integers(max(1, number - 6), number - 1))
        found[number] = draw(st.lists(near, max_size=3, unique=True) if draw(st.booleans()) else st.just([number - 1]))
    return found
