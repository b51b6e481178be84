"""The tree of a lineage: each direction from its start, circles and all."""

from __future__ import annotations

from muniment.cli.commands.lineage import tree


def test_a_tree_shows_each_direction_and_opens_a_node_once() -> None:
    nodes = {"version:b/1": 0, "version:a/1": -1, "dataset:d": -1, "release:b@1.0.0": 1}
    edges = [
        ("dataset:d", "version:a/1", "trained-from"),
        ("dataset:d", "version:b/1", "trained-from"),
        ("version:a/1", "version:b/1", "merge"),
        ("version:b/1", "version:a/1", "derived"),
        ("version:b/1", "release:b@1.0.0", "released-as"),
    ]
    graph = {
        "start": "version:b/1",
        "nodes": [{"key": key, "depth": depth} for key, depth in nodes.items()],
        "edges": [{"source": source, "target": target, "kind": kind} for source, target, kind in edges],
    }
    assert tree(graph, "down") == ["  released-as  release:b@1.0.0"]
    up = tree(graph, "up")
    assert up[:3] == ["  trained-from  dataset:d", "  merge  version:a/1", "    trained-from  dataset:d"]
    assert len(up) < 8
    assert tree({**graph, "edges": []}, "up") == ["  nothing that is known"]
