"""Every entry of a log against its tiles, and all of them against the signed checkpoint, in one pass.

Where an entry and its hash in the tile differ, both trees are grown on: the one that ends in the checkpoint's root
shows which of the two was changed. So a finding names the layer that is wrong and not just a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from muniment.verifier.checkpoint import Checkpoint
from muniment.verifier.errors import TileError
from muniment.verifier.hashing import leaf_hash
from muniment.verifier.leaves import LeafFile
from muniment.verifier.report import Finding
from muniment.verifier.source import Source
from muniment.verifier.tiles import MAX_BUNDLE, MAX_TILE, entries_of, entries_path, hashes_of, tile_path
from muniment.verifier.tree import WIDTH, TileTree

ENTRIES: Final = "entries"
Look = Callable[[int, bytes], None]
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Walk:
    """What came of it. `tree` is the one that ends in the checkpoint's root; None if there is none."""

    tree: TileTree | None = None
    findings: list[Finding] = field(default_factory=list)


class _Side:
    """A tree grown from one layer, whose full tiles above level 0 are compared with the stored ones."""

    def __init__(self, source: Source, tree: TileTree) -> None:
        self.source = source
        self.tree = tree
        self.alive = True
        self.upper: dict[int, Finding] = {}

    def fork(self) -> _Side:
        other = _Side(self.source, self.tree.copy())
        other.upper = dict(self.upper)
        return other

    def add(self, leaves: Sequence[bytes]) -> None:
        self.tree.add(leaves, self._compare)

    def finish(self) -> None:
        """Compare the unfinished tiles above level 0, too."""
        for level, hashes in enumerate(self.tree.pending):
            if hashes:
                self._compare(level, self.tree.size // WIDTH ** (level + 1), hashes)

    def _compare(self, level: int, number: int, hashes: Sequence[bytes]) -> None:
        if level == 0 or level in self.upper:
            return
        layer = f"tile/{level}"
        try:
            stored = read_tile(self.source, level, number, len(hashes))
        except TileError as error:
            self.upper[level] = Finding.of(layer, (number * WIDTH + error.at) * WIDTH**level, error)
            return
        at = _first_difference(stored, hashes)
        if at is not None:
            first = (number * WIDTH + at) * WIDTH**level
            message = f"hash {at} of {tile_path(level, number, len(hashes))} is not that of the entries below it"
            self.upper[level] = Finding(
                layer, first, "hash_differs", message, expected=hashes[at].hex(), actual=stored[at].hex()
            )


class _Walker:
    def __init__(self, source: Source, head: Checkpoint, start: TileTree, look: Look, leaves: LeafFile | None) -> None:
        self.source = source
        self.head = head
        self.look = look
        self.known = start.pending[0] if start.pending else []
        aligned = TileTree(start.size - len(self.known), [[], *start.pending[1:]])
        self.entries = _Side(source, aligned)
        self.tiles: _Side | None = None
        self.files = (leaves, LeafFile() if leaves is not None else None)
        self.forked_at: int | None = None
        self.findings: list[Finding] = []  # certain whatever the root is
        self.difference: tuple[Finding, Finding] | None = None  # the entry's fault, the tile's fault

    def bundle(self, number: int) -> bool:
        """Take one bundle and its tile; False when nothing can be grown any more."""
        base = number * WIDTH
        width = min(WIDTH, self.head.size - base)
        hashes = self._tile(number, width) if self.tiles is None or self.tiles.alive else None
        leaves, error = self._entries(number, width) if self.entries.alive else ([], None)
        if self.entries.alive:
            self._changed_since(base, leaves)
        if self.tiles is None and hashes is not None and leaves != hashes:
            self._fork(base, leaves, hashes, error)
        elif error is not None and self.difference is None:
            self.findings.append(error)
        if self.entries.alive:
            self.entries.alive = len(leaves) == width
            self._grow(self.entries, leaves, self.files[0])
        if self.tiles is not None and self.tiles.alive:
            self.tiles.alive = hashes is not None
            self._grow(self.tiles, hashes or [], self.files[1])
        return self.entries.alive or (self.tiles is not None and self.tiles.alive)

    def result(self) -> Walk:
        """Judge by the checkpoint's root."""
        sides = [side for side in (self.entries, self.tiles) if side is not None and side.alive]
        right = next((side for side in sides if side.tree.root() == self.head.root), None)
        judged = right or next(iter(sides), None)
        if judged is not None:
            judged.finish()
            self.findings += judged.upper.values()
        if self.difference is not None:
            entry, tile = self.difference
            self.findings.append(tile if right is self.entries else entry)
        if right is None and judged is not None:
            self.findings.append(
                Finding(
                    "checkpoint",
                    None,
                    "root_differs",
                    f"the {self.head.size} entries do not lead to the root that the checkpoint says",
                    expected=self.head.root.hex(),
                    actual=judged.tree.root().hex(),
                )
            )
        if right is not None and right is self.tiles:
            self._keep_tiles()
        return Walk(None if right is None else right.tree, self.findings)

    def close(self) -> None:
        if self.files[1] is not None:
            self.files[1].__exit__(None, None, None)

    def _grow(self, side: _Side, leaves: Sequence[bytes], file: LeafFile | None) -> None:
        if side.alive:
            side.add(leaves)
            if file is not None:
                file.extend(leaves)

    def _tile(self, number: int, width: int) -> list[bytes] | None:
        try:
            return read_tile(self.source, 0, number, width)
        except TileError as error:
            if not any(one.layer == "tile/0" for one in self.findings):
                self.findings.append(Finding.of("tile/0", number * WIDTH + error.at, error))
            return None

    def _entries(self, number: int, width: int) -> tuple[list[bytes], Finding | None]:
        """The leaf hashes of a bundle's entries as far as it is whole, and what is wrong with it."""
        base, leaves = number * WIDTH, []
        try:
            bundle, own_width = _read(self.source, entries_path, number, width, MAX_BUNDLE)
            for at, data in enumerate(entries_of(bundle, own_width)):
                if at < width:
                    leaves.append(leaf_hash(data))
                    self.look(base + at, data)
        except TileError as error:
            return leaves, Finding.of(ENTRIES, base + error.at, error)
        return leaves, None

    def _changed_since(self, base: int, leaves: Sequence[bytes]) -> None:
        """The entries behind the last full bundle of a walk that goes on were verified before: are they the same?"""
        known, self.known = self.known, []
        at = _first_difference(leaves, known) if known else None
        if at is not None and at < len(leaves):
            self.findings.append(
                Finding(
                    ENTRIES,
                    base + at,
                    "entry_changed",
                    "the entry is another one than when it was last verified",
                    expected=known[at].hex(),
                    actual=leaves[at].hex(),
                )
            )

    def _fork(self, base: int, leaves: list[bytes], hashes: list[bytes], error: Finding | None) -> None:
        at = _first_difference(leaves, hashes)
        if at is None:
            return
        self.tiles = self.entries.fork()
        self.forked_at = base
        if error is not None and at == len(leaves):  # nothing differs before the bundle breaks
            tile_fault = Finding(
                "tile/0", base + at, "hash_differs", "the tile has a hash for an entry that is not there"
            )
            self.difference = (error, tile_fault)
            return
        where, entry, tile = base + at, leaves[at].hex(), hashes[at].hex()
        self.difference = (
            Finding(
                ENTRIES, where, "entry_differs", "the entry was changed", expected=f"leaf hash {tile}", actual=entry
            ),
            Finding("tile/0", where, "hash_differs", "the tile's hash is not the entry's", expected=entry, actual=tile),
        )

    def _keep_tiles(self) -> None:
        mine, its = self.files
        if mine is not None and its is not None and self.forked_at is not None:
            mine.truncate(self.forked_at)
            for at in range(its.count):
                mine.extend([its.at(at)])


def verify_tiles(
    source: Source,
    head: Checkpoint,
    *,
    start: TileTree | None = None,
    look: Look = lambda index, data: None,
    leaves: LeafFile | None = None,
    progress: Progress = lambda done, total: None,
) -> Walk:
    """Verify all entries and tiles that a checkpoint covers, or those from a tree on that was verified before.

    `look` is given every entry read; `leaves`, empty, is given the leaf hashes of the side that is right. In memory are
    one bundle and one tile of each level. Raises `Unreadable`.
    """
    walker = _Walker(source, head, start or TileTree(), look, leaves)
    try:
        for number in range(walker.entries.tree.size // WIDTH, -(-head.size // WIDTH)):
            if not walker.bundle(number):
                break
            progress(min(head.size, (number + 1) * WIDTH), head.size)
        return walker.result()
    finally:
        walker.close()


def read_tile(source: Source, level: int, number: int, width: int) -> list[bytes]:
    """The first `width` hashes of a tile. Raises `TileError` if it is missing or malformed."""
    data, own_width = _read(source, lambda n, w: tile_path(level, n, w), number, width, MAX_TILE)
    return hashes_of(data, own_width)[:width]


def _read(source: Source, path: Callable[[int, int], str], number: int, width: int, at_most: int) -> tuple[bytes, int]:
    """A file of `width`, or the full one, which replaces its parts once it is there; and the width of what it is."""
    for own in (width, WIDTH) if width < WIDTH else (WIDTH,):
        data = source.read(path(number, own), at_most)
        if data is not None:
            return data, own
    raise TileError("missing", f"{path(number, width)} is not there", expected="a file", actual="none")


def _first_difference(left: Sequence[bytes], right: Sequence[bytes]) -> int | None:
    """Where the shorter of the two ends, or they differ before; None if `left` begins with `right`."""
    for at, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return at
    return None if len(left) >= len(right) else len(left)
