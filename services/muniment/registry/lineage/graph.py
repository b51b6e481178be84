"""The lineage graph and the walk over it. Pure.

An edge leads from what was there first (`source`) to what came of it (`target`). A walk goes breadth first in one
direction, a level at a time: whoever drives it asks for the edges of a whole level at once. A node is met once, so
circles, which reports from elsewhere may contain, end the walk like any other known node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Kind = Literal["dataset", "code", "run", "experiment", "version", "release", "deployment", "external-run"]
KINDS: Final[tuple[Kind, ...]] = (
    "dataset",
    "code",
    "run",
    "experiment",
    "version",
    "release",
    "deployment",
    "external-run",
)
Direction = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Node:
    """Something in the graph: its kind and name, and a dataset's digest (`''` where it is not known).

    `row` is a version's (model's id, number), `facts` is what else is shown; neither tells nodes apart.
    """

    kind: Kind
    name: str
    digest: str = ""
    row: tuple[int, int] | None = field(default=None, compare=False)
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def key(self) -> str:
        """The node in one text: `version:digits/3`, `dataset:mnist@sha256:ab`."""
        return f"{self.kind}:{self.name}@{self.digest}" if self.digest else f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Edge:
    """`target` came of `source`. `kind`: how (`trained-from`, `fine-tune`, `released-as`, ...)."""

    source: Node
    target: Node
    kind: str


@dataclass(slots=True)
class Walk:
    """A walk from some nodes. Take the edges of `frontier` until it is empty.

    `cut` says that something lies beyond the depth (in edges) or the number of nodes allowed.
    """

    direction: Direction
    max_depth: int
    max_nodes: int
    depths: dict[Node, int] = field(default_factory=dict)
    edges: dict[Edge, None] = field(default_factory=dict)
    frontier: list[Node] = field(default_factory=list)
    cut: bool = False

    @classmethod
    def of(cls, starts: Iterable[Node], direction: Direction, *, max_depth: int, max_nodes: int) -> Walk:
        """A walk that stands at its start."""
        walk = cls(direction, max_depth, max_nodes)
        walk.depths = dict.fromkeys(starts, 0)
        walk.frontier = list(walk.depths)
        return walk

    def take(self, edges: Iterable[Edge]) -> None:
        """Go one level on: the edges that leave the frontier in the walk's direction, in any order."""
        met: list[Node] = []
        for edge in edges:
            here, there = (edge.target, edge.source) if self.direction == "up" else (edge.source, edge.target)
            if there not in self.depths:
                depth = self.depths[here] + 1
                if depth > self.max_depth or len(self.depths) >= self.max_nodes:
                    self.cut = True
                    continue
                self.depths[there] = depth
                met.append(there)
            self.edges[edge] = None
        self.frontier = met


def answer(walks: Iterable[Walk], kinds: frozenset[str]) -> dict[str, Any]:
    """The walks as JSON, one graph: nodes by depth (negative upstream) and the edges between nodes that are shown.

    `kinds`: those shown, all where it is empty; the walks have gone through the others nevertheless.
    """
    places: dict[Node, int] = {}
    edges: dict[Edge, None] = {}
    cut = False
    for walk in walks:
        sign = -1 if walk.direction == "up" else 1
        for node, depth in walk.depths.items():
            places.setdefault(node, sign * depth)
        edges.update(walk.edges)
        cut = cut or walk.cut
    shown = {node for node in places if not kinds or node.kind in kinds or places[node] == 0}
    return {
        "nodes": [_json(node, places[node]) for node in sorted(shown, key=lambda node: (places[node], node.key))],
        "edges": [
            {"source": edge.source.key, "target": edge.target.key, "kind": edge.kind}
            for edge in sorted(edges, key=lambda edge: (edge.source.key, edge.target.key, edge.kind))
            if edge.source in shown and edge.target in shown
        ],
        "cut": cut,
    }


def _json(node: Node, depth: int) -> dict[str, Any]:
    facts = {name: value for name, value in node.facts.items() if value is not None}
    if node.digest:
        facts["digest"] = node.digest
    return {"key": node.key, "kind": node.kind, "name": node.name, "depth": depth, **facts}
