"""The walk over the lineage graph, against plain reachability; circles included."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from muniment.registry.lineage.graph import Direction, Edge, Node, Walk, answer

_NODES = [Node("version", f"m/{number}") for number in range(8)]
_EDGES = st.lists(
    st.builds(Edge, st.sampled_from(_NODES), st.sampled_from(_NODES), st.sampled_from(["derived", "merge"])),
    max_size=25,
)


def _walked(edges: list[Edge], direction: Direction, depth: int, nodes: int = 100) -> Walk:
    walk = Walk.of([_NODES[0]], direction, max_depth=depth, max_nodes=nodes)
    while walk.frontier:
        level = set(walk.frontier)
        walk.take([edge for edge in edges if (edge.target if direction == "up" else edge.source) in level])
    return walk


def _distances(edges: list[Edge], direction: Direction) -> dict[Node, int]:
    """Bellman and Ford's way: nothing of the walk's own."""
    found = {_NODES[0]: 0}
    for _ in _NODES:
        for edge in edges:
            here, there = (edge.target, edge.source) if direction == "up" else (edge.source, edge.target)
            if here in found:
                found[there] = min(found.get(there, 99), found[here] + 1)
    return found


@given(_EDGES, st.sampled_from(["up", "down"]), st.integers(1, 9))
def test_a_walk_meets_just_what_is_within_its_depth_and_says_when_there_is_more(
    edges: list[Edge], direction: Direction, depth: int
) -> None:
    walk = _walked(edges, direction, depth)
    distances = _distances(edges, direction)
    assert walk.depths == {node: far for node, far in distances.items() if far <= depth}
    assert walk.cut == any(far > depth for far in distances.values())
    assert all(edge.source in walk.depths and edge.target in walk.depths for edge in walk.edges)


@given(_EDGES, st.integers(1, 8))
def test_a_walk_never_holds_more_nodes_than_allowed_and_says_so(edges: list[Edge], nodes: int) -> None:
    walk = _walked(edges, "down", 99, nodes)
    assert len(walk.depths) == min(nodes, len(_distances(edges, "down")))
    assert walk.cut == (len(_distances(edges, "down")) > nodes)


def test_the_answer_shows_the_wanted_kinds_and_the_start() -> None:
    data = Node("dataset", "mnist", "sha256:ab", facts={"uri": None})
    edge = Edge(data, _NODES[0], "trained-from")
    walk = Walk.of([_NODES[0]], "up", max_depth=9, max_nodes=9)
    walk.take([edge])
    whole = answer([walk], frozenset())
    assert [node["key"] for node in whole["nodes"]] == ["dataset:mnist@sha256:ab", "version:m/0"]
    assert whole["nodes"][0] == {
        "key": "dataset:mnist@sha256:ab",
        "kind": "dataset",
        "name": "mnist",
        "depth": -1,
        "digest": "sha256:ab",
    }
    assert whole["edges"] == [{"source": "dataset:mnist@sha256:ab", "target": "version:m/0", "kind": "trained-from"}]
    assert [node["key"] for node in answer([walk], frozenset({"code"}))["nodes"]] == ["version:m/0"]
