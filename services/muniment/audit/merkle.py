"""RFC 6962 hashing: the tree over all leaves, grown one leaf at a time. Pure.

A `Frontier` is all that growing needs: the roots of the complete subtrees that the leaves so far fall into, largest
first, one for each bit set in the size. Every hash of the tree can be had again from the leaf hashes in their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""MTH of no leaves (RFC 6962 section 2.1)."""


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """A tree of `size` leaves as its complete subtrees' roots, largest (leftmost) first."""

    size: int = 0
    nodes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.nodes) != self.size.bit_count():
            raise ValueError(f"a tree of {self.size} leaves has no frontier of {len(self.nodes)} nodes")
        if any(len(node) != HASH_SIZE for node in self.nodes):
            raise ValueError(f"a node has {HASH_SIZE} bytes")

    def append(self, leaf: bytes) -> Frontier:
        """The tree with one more leaf, given by its leaf hash."""
        nodes = list(self.nodes)
        node, complete = leaf, self.size
        while complete & 1:  # each trailing one is a subtree that the new leaf completes to the double size
            node = node_hash(nodes.pop(), node)
            complete >>= 1
        return Frontier(self.size + 1, (*nodes, node))

    def root(self) -> bytes:
        """The tree's root hash."""
        if not self.nodes:
            return EMPTY_ROOT
        root = self.nodes[-1]
        for node in reversed(self.nodes[:-1]):
            root = node_hash(node, root)
        return root


def grow(tree: Frontier, leaves: Sequence[bytes]) -> tuple[Frontier, list[bytes]]:
    """The tree with these leaf hashes appended in their order, and its root after each of them.

    The same as `append` and `root` for each, without a tree between: an append to the log needs each root.
    """
    sha256 = hashlib.sha256
    nodes, size = list(tree.nodes), tree.size
    roots: list[bytes] = []
    for leaf in leaves:
        node, complete = leaf, size
        while complete & 1:
            node = sha256(b"\x01" + nodes.pop() + node).digest()
            complete >>= 1
        nodes.append(node)
        size += 1
        root = node
        for above in nodes[-2::-1]:
            root = sha256(b"\x01" + above + root).digest()
        roots.append(root)
    return Frontier(size, tuple(nodes)), roots


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes in their order: the same as appending them one by one."""
    frontier = Frontier()
    for leaf in leaves:
        frontier = frontier.append(leaf)
    return frontier.root()
