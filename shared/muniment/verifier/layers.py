"""Mirrors of one log against each other: each layer's entries, from any reader, under one signed checkpoint.

A reader gives rows in the order of the log (a topic may repeat rows). Each layer's leaf hashes go to a temporary file;
the layer whose tree ends in the checkpoint's root judges the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from muniment.verifier.checkpoint import Checkpoint
from muniment.verifier.entry import parse_entry
from muniment.verifier.errors import EntryError
from muniment.verifier.hashing import leaf_hash, node_hash
from muniment.verifier.leaves import LeafFile
from muniment.verifier.report import Finding, Report
from muniment.verifier.tree import TileTree

_BLOCK: Final = 4096
_NOTHING: Final[Mapping[str, str | None]] = {}


@dataclass(frozen=True, slots=True)
class Row:
    """One entry as a layer holds it.

    `data` is the leaf's; the rest is what the layer says beside it, to be held against it: the leaf hash, the tree's
    roots at size `index` + 1, and members of the entry that the layer keeps apart (None: the entry has no such member).
    """

    index: int
    data: bytes
    leaf_hash: bytes | None = None
    roots: tuple[bytes, ...] = ()
    facts: Mapping[str, str | None] = field(default_factory=lambda: _NOTHING)


class Layer:
    """One layer, filled row by row. The first thing that is wrong with it is its finding; no later row is looked at."""

    def __init__(self, name: str, *, repeats: bool = False) -> None:
        """`repeats`: the layer may hold one row several times, as a topic does."""
        self.name = name
        self.finding: Finding | None = None
        self.repeated = 0
        self.leaves = LeafFile()
        self._repeats = repeats
        self._frontier: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leaves.__exit__(kind, error, trace)

    def take(self, row: Row) -> bool:
        """Take the next row; False once the layer is known to be wrong, and further rows are of no use."""
        leaf = leaf_hash(row.data)
        if row.leaf_hash is not None and row.leaf_hash != leaf:
            self._wrong(
                row.index, "leaf_hash_differs", "the entry is not the one of its leaf hash", row.leaf_hash, leaf
            )
        elif row.index < self.leaves.count and self._repeats and row.index >= 0:
            before = self.leaves.at(row.index)
            self.repeated += 1
            if before != leaf:
                self._wrong(row.index, "two_entries", "there are two entries with this index", before, leaf)
        elif row.index != self.leaves.count:
            at = min(row.index, self.leaves.count)
            self.finding = Finding(
                self.name,
                at,
                "entry_missing" if row.index > at else "index_repeated",
                "the layer lacks this entry" if row.index > at else "the layer has this entry twice",
                expected=str(self.leaves.count),
                actual=str(row.index),
            )
        else:
            self._append(row, leaf)
        return self.finding is None

    def broken(
        self, index: int, code: str, message: str, *, expected: str | None = None, actual: str | None = None
    ) -> None:
        """Note that what should be the row `index` cannot be read."""
        if self.finding is None:
            self.finding = Finding(self.name, index, code, message, expected, actual)

    def root(self, size: int) -> bytes | None:
        """The root of the first `size` leaves; None if there are fewer."""
        if self.leaves.count < size:
            return None
        tree = TileTree()
        for start in range(0, size, _BLOCK):
            tree.add(self.leaves.block(start, min(size, start + _BLOCK)))
        return tree.root()

    def _append(self, row: Row, leaf: bytes) -> None:
        if row.roots:
            self._check_roots(row, leaf)
        if row.facts and self.finding is None:
            self._check_facts(row)
        if self.finding is None:
            self.leaves.extend([leaf])

    def _check_roots(self, row: Row, leaf: bytes) -> None:
        node, complete = leaf, self.leaves.count
        while complete & 1:
            node = node_hash(self._frontier.pop(), node)
            complete >>= 1
        self._frontier.append(node)
        root = self._frontier[-1]
        for left in self._frontier[-2::-1]:
            root = node_hash(left, root)
        for said in row.roots:
            if said != root:
                self._wrong(
                    row.index, "root_differs", "the root beside the entry is not that of the log so far", said, root
                )

    def _check_facts(self, row: Row) -> None:
        try:
            entry = parse_entry(row.data)
        except EntryError as error:
            self.finding = Finding.of(self.name, row.index, error)
            return
        for name, said in row.facts.items():
            if entry.get(name) != said:
                message = f"`{name}` beside the entry is not what the entry says"
                self.finding = Finding(
                    self.name,
                    row.index,
                    "column_differs",
                    message,
                    str(entry.get(name)),
                    None if said is None else said,
                )
                return

    def _wrong(self, index: int, code: str, message: str, expected: bytes, actual: bytes) -> None:
        if self.finding is None:
            self.finding = Finding(self.name, index, code, message, expected.hex(), actual.hex())


def judge(head: Checkpoint, layers: list[Layer], report: Report) -> Layer | None:
    """Hold the layers against the checkpoint and each other; findings go into the report. Returns the one that judged.

    What lies behind the checkpoint has no signature yet; there the layers are only compared with each other.
    """
    right = next((one for one in layers if one.root(head.size) == head.root), None)
    for layer in layers:
        both = (layer.finding, _against(right or layers[0], layer, head))
        found = min((one for one in both if one is not None), key=lambda one: one.index or 0, default=None)
        if found is not None:
            report.findings.append(found)
        facts = {"ok": found is None, "entries": layer.leaves.count}
        report.layers[layer.name] = facts | ({"repeated": layer.repeated} if layer.repeated else {})
    if right is None and layers:
        report.findings.append(
            Finding(
                "checkpoint",
                None,
                "root_differs",
                "no layer leads to the root that the checkpoint says",
                expected=head.root.hex(),
                actual="; ".join(f"{one.name} {_root_text(one, head.size)}" for one in layers),
            )
        )
    return right


def _against(judging: Layer, layer: Layer, head: Checkpoint) -> Finding | None:
    at = judging.leaves.first_difference(layer.leaves, max(judging.leaves.count, layer.leaves.count))
    if at is not None:
        return Finding(
            layer.name,
            at,
            "entry_differs",
            f"the entry is another one than in {judging.name}"
            + (", which the checkpoint covers" if at < head.size else "; no checkpoint covers it yet"),
            expected=f"leaf hash {judging.leaves.at(at).hex()}",
            actual=layer.leaves.at(at).hex(),
        )
    if layer.leaves.count < head.size and layer.finding is None:
        return Finding(
            layer.name,
            layer.leaves.count,
            "entry_missing",
            "the layer ends here",
            expected=f"{head.size} entries",
            actual=f"{layer.leaves.count} entries",
        )
    return None


def _root_text(layer: Layer, size: int) -> str:
    root = layer.root(size)
    return f"ends at {layer.leaves.count}" if root is None else root.hex()


class Layers(ExitStack):
    """Layers that are closed together."""

    def layer(self, name: str, *, repeats: bool = False) -> Layer:
        """A new one."""
        return self.enter_context(Layer(name, repeats=repeats))
