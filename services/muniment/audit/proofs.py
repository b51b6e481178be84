"""Inclusion and consistency proofs (RFC 6962 section 2.1, RFC 9162 section 2.1.3 and 2.1.4), from tiles. Pure.

A proof is a list of hashes, each the root over a range of leaves. What to read is known before anything is read:
`inclusion_ranges` or `consistency_ranges` gives the ranges, `tiles_of` the tiles that hold them (one or two for each
level), and `hash_of` a range's hash from those tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from muniment.audit.merkle import HASH_SIZE, node_hash
from muniment.audit.tiles import WIDTH, Tile, fold, hashes_at, node_of


@dataclass(frozen=True, slots=True)
class Range:
    """The leaves from `first` to before `end`: a subtree of the tree, complete or its ragged right end."""

    first: int
    end: int


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The subtrees whose hashes prove leaf `index` in the tree of `size` leaves, from the leaf's sibling to the root's
    child (RFC 6962 section 2.1.1, PATH). Raises `ValueError` unless 0 <= index < size.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    first, end = 0, size
    path: list[Range] = []
    while end - first > 1:
        middle = first + _left_size(end - first)
        if index < middle:
            path.append(Range(middle, end))
            end = middle
        else:
            path.append(Range(first, middle))
            first = middle
    return path[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """The subtrees whose hashes prove that the tree of `new` leaves begins with that of `old` (RFC 6962 section 2.1.2,
    PROOF). None for equal sizes and for the empty tree. Raises `ValueError` unless 0 <= old <= new.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves does not begin with one of {old}")
    if old in (0, new):
        return []
    first, end = 0, new
    whole = True  # the subtree is the old tree itself, whose root the reader has
    path: list[Range] = []
    while end != old:
        middle = first + _left_size(end - first)
        if old <= middle:
            path.append(Range(middle, end))
            end = middle
        else:
            path.append(Range(first, middle))
            first, whole = middle, False
    return ([] if whole else [Range(first, end)]) + path[::-1]


def ranges_around(first: int, end: int, size: int) -> list[Range]:
    """The subtrees outside the leaves `first` to before `end`, left to right: with those leaves' hashes their hashes
    give the root. Raises `ValueError` unless 0 <= first <= end <= size.
    """
    if not 0 <= first <= end <= size:
        raise ValueError(f"a tree of {size} leaves has no leaves {first} to {end}")
    found: list[Range] = []
    waiting = [Range(0, size)] if size else []
    while waiting:
        one = waiting.pop()
        if one.end <= first or one.first >= end:
            found.append(one)
        elif one.first < first or one.end > end:
            middle = one.first + _left_size(one.end - one.first)
            waiting += [Range(middle, one.end), Range(one.first, middle)]
    return found


def tiles_of(ranges: Iterable[Range], size: int) -> set[Tile]:
    """The tiles to read for the hashes of these ranges, as wide as a tree of `size` leaves has them."""
    return {_place(height, number, size)[0] for found in ranges for height, number in _complete(found)}


def hash_of(found: Range, tiles: Mapping[Tile, bytes], size: int) -> bytes:
    """The range's hash, from the tiles that `tiles_of` gave for it and the same size: full ones as `nodes_of` them,
    open ones as their hashes in order.
    """
    parts = []
    for height, number in _complete(found):
        tile, offset, count = _place(height, number, size)
        content = tiles[tile]
        parts.append(
            node_of(content, offset, count)
            if tile.full
            else fold([content[place : place + HASH_SIZE] for place in _places(offset, count)])
        )
    node = parts.pop()
    while parts:
        node = node_hash(parts.pop(), node)
    return node


def inclusion_root(leaf: bytes, index: int, size: int, hashes: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof gives for a leaf hash (RFC 9162 section 2.1.3.2), from a proof of the right
    length: one that was just made is tried before it is handed out.
    """
    node, last = leaf, size - 1
    for sibling in hashes:
        if index & 1 or index == last:
            node = node_hash(sibling, node)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        index, last = index >> 1, last >> 1
    return node


def consistency_roots(old: int, new: int, old_root: bytes, hashes: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The roots of both trees that a consistency proof gives (RFC 9162 section 2.1.4.2), 0 < `old` < `new`. `old_root`
    is where it begins if `old` is a power of two.
    """
    path = list(hashes) if old & (old - 1) else [old_root, *hashes]
    index, last = old - 1, new - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if index & 1 or index == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        index, last = index >> 1, last >> 1
    return first, second


def _places(first: int, count: int) -> range:
    return range(HASH_SIZE * first, HASH_SIZE * (first + count), HASH_SIZE)


def _left_size(size: int) -> int:
    """The largest power of two below `size`: where RFC 6962 splits."""
    return 1 << ((size - 1).bit_length() - 1)


def _complete(found: Range) -> Iterator[tuple[int, int]]:
    """The range as complete subtrees, largest first: (height, how many of that height come before it)."""
    first = found.first
    while first < found.end:
        height = (found.end - first).bit_length() - 1
        yield height, first >> height
        first += 1 << height


def _place(height: int, number: int, size: int) -> tuple[Tile, int, int]:
    """Where the subtree is: a tile, and the offset and count (a power of two) of the hashes in it that it covers."""
    level = height // 8
    count = 1 << (height % 8)
    first = number * count
    index = first // WIDTH
    width = min(WIDTH, hashes_at(level, size) - index * WIDTH)
    return Tile(level, index, width), first % WIDTH, count
