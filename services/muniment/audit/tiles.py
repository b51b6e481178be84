"""Tiles (C2SP tlog-tiles): the tree cut into pieces of 256 hashes that, once full, never change. Pure.

Tile `index` of level `level` holds the roots of the complete subtrees of 256^level leaves from
`index` * 256^(level + 1) on: leaf hashes at level 0, and above it the roots of the full tiles below. A bundle holds the
leaves' data themselves. A tree's last tile of a level may be partial; its width then belongs to its name.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from muniment.audit.merkle import HASH_SIZE, Frontier, node_hash
from muniment.contracts.errors import Rejected

WIDTH: Final = 256
"""Hashes of a full tile, and entries of a full bundle."""
MAX_LEVEL: Final = 7
"""Above it no tile has a hash while indexes have 63 bits."""
_BITS: Final = 8
_PATH: Final = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII
)
_NUMBER: Final = struct.Struct(">H")


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """A tile's place: `level` None is the bundle of entries beside the level 0 tile. `width` is 1 to 256."""

    level: int | None
    index: int
    width: int = WIDTH

    @property
    def full(self) -> bool:
        """Whether it will never change."""
        return self.width == WIDTH

    @property
    def first(self) -> int:
        """The index of its first hash (or entry) in its level."""
        return self.index * WIDTH

    @property
    def path(self) -> str:
        """As in a URL and as the object's key, such as `tile/0/x001/x234/067.p/112`."""
        digits = str(self.index)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
        number = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        partial = "" if self.full else f".p/{self.width}"
        return f"tile/{'entries' if self.level is None else self.level}/{number}{partial}"


def parse_path(path: str) -> Tile:
    """The tile that a path names, in its one spelling. Raises `Rejected` (`audit_tile_path_invalid`)."""
    if (found := _PATH.fullmatch(path)) is not None:
        level, number, width = found.groups()
        index = int(number.replace("/", "").replace("x", ""))
        tile = Tile(None if level == "entries" else int(level), index, WIDTH if width is None else int(width))
        if tile.path == path and (tile.level or 0) <= MAX_LEVEL and tile.width <= WIDTH:
            return tile
    raise Rejected(
        "audit_tile_path_invalid",
        "the path names no tile",
        expected="tile/LEVEL/INDEX or tile/entries/INDEX, INDEX such as x001/x234/067, partial ones with .p/WIDTH",
        actual=repr(path[:100]),
        hint="c2sp.org/tlog-tiles tells how tiles are named",
    )


def hashes_at(level: int, size: int) -> int:
    """How many hashes a tree of `size` leaves has at a level: its complete subtrees of 256^level leaves."""
    return size >> (_BITS * level)


def edge(size: int) -> Iterator[Tile]:
    """The partial tiles and the partial bundle of a tree of `size` leaves, bundle first, then by level."""
    if width := size % WIDTH:
        yield Tile(None, size // WIDTH, width)
    for level in range(MAX_LEVEL + 1):
        count = hashes_at(level, size)
        if not count:
            return
        if width := count % WIDTH:
            yield Tile(level, count // WIDTH, width)


def completed(before: int, after: int) -> Iterator[Tile]:
    """The tiles and bundles that growing from `before` to `after` leaves makes full, by level, bundles first."""
    for level in (None, *range(MAX_LEVEL + 1)):
        old, new = (hashes_at(level or 0, size) // WIDTH for size in (before, after))
        for index in range(old, new):
            yield Tile(level, index)


def changed_edge(before: int, after: int) -> Iterator[Tile]:
    """Those of `edge(after)` that `edge(before)` does not have: what a growth leaves partial."""
    known = set(edge(before))
    return (tile for tile in edge(after) if tile not in known)


def wrap(data: bytes) -> bytes:
    """One entry of a bundle: its length in two bytes, big endian, and its data (at most 65,535 bytes)."""
    return _NUMBER.pack(len(data)) + data


def split_bundle(bundle: bytes) -> list[bytes]:
    """The entries of a bundle. Raises `Rejected` (`audit_bundle_invalid`) where the lengths do not fit."""
    entries: list[bytes] = []
    place = 0
    while place < len(bundle):
        if place + 2 > len(bundle) or (end := place + 2 + _NUMBER.unpack_from(bundle, place)[0]) > len(bundle):
            raise Rejected(
                "audit_bundle_invalid",
                f"entry {len(entries)} of the bundle is cut off",
                expected="(length in 2 bytes, data) again and again",
                actual=f"{len(bundle)} bytes, the entry begins at {place}",
            )
        entries.append(bundle[place + 2 : end])
        place = end
    return entries


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root over 1, 2, 4, 8, ... hashes: a complete subtree's root from its level's hashes."""
    row = list(hashes)
    if not row or len(row) & (len(row) - 1):
        raise ValueError(f"{len(row)} hashes are no complete subtree")
    while len(row) > 1:
        row = [node_hash(left, right) for left, right in zip(row[::2], row[1::2], strict=True)]
    return row[0]


def nodes_of(hashes: bytes) -> bytes:
    """All hashes of a full tile's subtree below its root: the tile's own 256, the 128 over each two of them, ..., 2."""
    row = [hashes[place : place + HASH_SIZE] for place in range(0, len(hashes), HASH_SIZE)]
    nodes = [*row]
    while len(row) > 2:
        row = [node_hash(left, right) for left, right in zip(row[::2], row[1::2], strict=True)]
        nodes += row
    return b"".join(nodes)


def node_of(nodes: bytes, first: int, count: int) -> bytes:
    """The hash over `count` (1, 2, 4, ..., 128) of a full tile's hashes from `first` (a multiple of it) on."""
    place = HASH_SIZE * (2 * WIDTH - 2 * WIDTH // count + first // count)
    return nodes[place : place + HASH_SIZE]


@dataclass(frozen=True, slots=True)
class Full:
    """A tile or bundle that has just become full. `root` is that of the tile's subtree, None for a bundle."""

    tile: Tile
    content: bytes
    root: bytes | None


class Growing:
    """The edge of a growing tree: the hashes of each level's open tile and the open bundle's bytes.

    Holds at most 8 x 255 hashes and 255 entries (16 MiB; usually under 256 KiB).
    """

    def __init__(self, size: int = 0, levels: Sequence[Sequence[bytes]] = (), bundle: bytes = b"") -> None:
        """`levels[i]` are the hashes of level i's open tile, as many as a tree of `size` leaves has there."""
        self.size = size
        self._levels = [list(hashes) for hashes in levels]
        self._bundle = bytearray(bundle)
        for level in range(MAX_LEVEL + 1):
            held = len(self._levels[level]) if level < len(self._levels) else 0
            if held != hashes_at(level, size) % WIDTH:
                raise ValueError(f"level {level} of a tree of {size} leaves has not {held} open hashes")

    def add(self, data: bytes, leaf: bytes) -> list[Full]:
        """One more leaf; returns what it makes full: nothing, or bundle and tiles, lowest level first."""
        self._bundle += wrap(data)
        self.size += 1
        full: list[Full] = []
        node = leaf
        for level in range(MAX_LEVEL + 1):
            if level == len(self._levels):
                self._levels.append([])
            open_tile = self._levels[level]
            open_tile.append(node)
            if len(open_tile) < WIDTH:
                break
            index = hashes_at(level, self.size) // WIDTH - 1
            if level == 0:
                full.append(Full(Tile(None, index), bytes(self._bundle), None))
                self._bundle.clear()
            node = fold(open_tile)
            full.append(Full(Tile(level, index), b"".join(open_tile), node))
            open_tile.clear()
        return full

    def content(self, tile: Tile) -> bytes:
        """What a partial tile of `edge(size)` holds."""
        content = bytes(self._bundle) if tile.level is None else b"".join(self._levels[tile.level])
        if tile.level is not None and len(content) != tile.width * HASH_SIZE:
            raise ValueError(f"{tile.path} is not at the edge of a tree of {self.size} leaves")
        return content

    def root(self) -> bytes:
        """The tree's root hash."""
        nodes: list[bytes] = []
        for hashes in reversed(self._levels):
            place = 0
            for bit in reversed(range(_BITS)):
                if len(hashes) & (1 << bit):
                    nodes.append(fold(hashes[place : place + (1 << bit)]))
                    place += 1 << bit
        return Frontier(self.size, tuple(nodes)).root()
