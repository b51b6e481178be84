"""A model's versions as a graph. Pure.

A version's edges go to what stood on its branch before it (kind `previous`) and to the parents its publisher named.
Both were committed before it, so every edge within a model goes from a larger number to a smaller one: the numbers
are a topological order, and there are no cycles.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

PREVIOUS: Final = "previous"


class Edge(NamedTuple):
    """To a parent. `model` is set for a parent in another model: there the walk ends."""

    kind: str
    id: str
    number: int
    model: str | None = None


class Node(NamedTuple):
    """One version. `edges`: `previous` first, then the named parents, the newest first."""

    number: int
    id: str
    branch: str
    operator: str
    committed_at: datetime
    deleted: bool = False
    edges: tuple[Edge, ...] = ()
    manifest_bytes: int = 0

    @property
    def parents(self) -> tuple[int, ...]:
        """The numbers of its parents in this model, each once; the first is the first parent."""
        return tuple(dict.fromkeys(edge.number for edge in self.edges if edge.model is None))


@dataclass(frozen=True, slots=True)
class Graph:
    """The versions of one model by number. A parent outside of `nodes` is not followed."""

    nodes: Mapping[int, Node]
    _parents: dict[int, tuple[int, ...]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for number, node in self.nodes.items():
            self._parents[number] = tuple(parent for parent in node.parents if parent in self.nodes)

    def parents(self, number: int, *, first_only: bool = False) -> tuple[int, ...]:
        """The parents within the graph. The first parent is the branch's head before, else the newest named one."""
        known = self._parents[number]
        return known[:1] if first_only else known

    def ancestors(
        self, starts: Iterable[int], *, first_only: bool = False, within: Container[int] | None = None
    ) -> set[int]:
        """The versions that lead to any of these, these included; with `within` by ways that do not leave it."""
        found = {number for number in starts if number in self.nodes}
        left = list(found)
        while left:
            for parent in self.parents(left.pop(), first_only=first_only):
                if parent not in found and (within is None or parent in within):
                    found.add(parent)
                    left.append(parent)
        return found
