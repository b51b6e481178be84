"""Proofs from tiles, against RFC 6962 written down anew from its recursive definitions."""

from __future__ import annotations

import hashlib
from functools import cache

import pytest

from muniment.audit.proofs import (
    Range,
    consistency_ranges,
    consistency_roots,
    hash_of,
    inclusion_ranges,
    inclusion_root,
    tiles_of,
)
from muniment.audit.tiles import MAX_LEVEL, Tile, fold, hashes_at, nodes_of

LEAVES = [hashlib.sha256(b"\x00" + bytes([number])).digest() for number in range(130)]


def _hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(size: int) -> int:
    k = 1
    while 2 * k < size:
        k *= 2
    return k


@cache
def mth(first: int, end: int) -> bytes:
    """MTH(D[first:end])."""
    if end - first == 1:
        return LEAVES[first]
    middle = first + _split(end - first)
    return _hash(mth(first, middle), mth(middle, end))


def naive_path(m: int, first: int, end: int) -> list[bytes]:
    """PATH(m, D[first:end]), section 2.1.1."""
    if end - first == 1:
        return []
    k = _split(end - first)
    if m < k:
        return [*naive_path(m, first, first + k), mth(first + k, end)]
    return [*naive_path(m - k, first + k, end), mth(first, first + k)]


def naive_subproof(m: int, first: int, end: int, *, whole: bool) -> list[bytes]:
    """SUBPROOF(m, D[first:end], b), section 2.1.2."""
    if m == end - first:
        return [] if whole else [mth(first, end)]
    k = _split(end - first)
    if m <= k:
        return [*naive_subproof(m, first, first + k, whole=whole), mth(first + k, end)]
    return [*naive_subproof(m - k, first + k, end, whole=False), mth(first, first + k)]


def read(ranges: list[Range], size: int) -> list[bytes]:
    levels = [LEAVES]
    tiles = {
        tile: b"".join(levels[tile.level or 0][tile.first : tile.first + tile.width]) for tile in tiles_of(ranges, size)
    }
    return [hash_of(found, tiles, size) for found in ranges]


@pytest.mark.parametrize("size", range(1, 131))
def test_every_inclusion_proof_of_every_tree(size: int) -> None:
    for index in range(size):
        assert read(inclusion_ranges(index, size), size) == naive_path(index, 0, size)


@pytest.mark.parametrize("new", range(1, 131))
def test_every_consistency_proof_of_every_pair(new: int) -> None:
    for old in range(1, new + 1):
        assert read(consistency_ranges(old, new), new) == naive_subproof(old, 0, new, whole=True)


def test_no_proof_of_what_there_is_not() -> None:
    assert consistency_ranges(0, 5) == []
    for index, size in ((0, 0), (3, 3), (-1, 3)):
        with pytest.raises(ValueError, match="no leaf"):
            inclusion_ranges(index, size)
    with pytest.raises(ValueError, match="does not begin"):
        consistency_ranges(4, 3)


@cache
def large_tree(size: int) -> list[list[bytes]]:
    """The hashes of each level of tiles."""
    levels = [[hashlib.sha256(b"\x00%d" % number).digest() for number in range(size)]]
    for level in range(1, MAX_LEVEL + 1):
        below = levels[-1]
        levels.append([fold(below[at * 256 : at * 256 + 256]) for at in range(hashes_at(level, size))])
    return levels


@pytest.mark.parametrize(("index", "size"), [(0, 70_000), (69_999, 70_000), (65_535, 70_000), (300, 65_537)])
def test_a_large_tree_is_read_in_few_tiles(index: int, size: int) -> None:
    """Several levels at once: hashes come from the tiles that a tree of this size has, and fold to its root."""
    levels = large_tree(size)
    ranges = inclusion_ranges(index, size)
    wanted = tiles_of(ranges, size)
    assert len(wanted) <= 6
    tiles: dict[Tile, bytes] = {}
    for tile in wanted:
        hashes = levels[tile.level or 0][tile.first : tile.first + tile.width]
        assert len(hashes) == tile.width
        tiles[tile] = nodes_of(b"".join(hashes)) if tile.full else b"".join(hashes)
    node, fn, sn = levels[0][index], index, size - 1  # RFC 9162 section 2.1.3.2
    for found in ranges:
        sibling = hash_of(found, tiles, size)
        if fn & 1 or fn == sn:
            node = _hash(sibling, node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = _hash(node, sibling)
        fn, sn = fn >> 1, sn >> 1
    row = levels[0]
    while len(row) > 1:
        row = [_hash(row[at], row[at + 1]) if at + 1 < len(row) else row[at] for at in range(0, len(row), 2)]
    assert (sn, node) == (0, row[0])


def test_proofs_that_are_right_give_the_roots_and_no_changed_one_does() -> None:
    for size in range(1, 131):
        root = mth(0, size)
        for index in range(size):
            path = naive_path(index, 0, size)
            assert inclusion_root(LEAVES[index], index, size, path) == root
            for place in range(len(path)):
                wrong = [*path[:place], bytes(32), *path[place + 1 :]]
                assert inclusion_root(LEAVES[index], index, size, wrong) != root
        for old in range(1, size):
            path = [mth(part.first, part.end) for part in consistency_ranges(old, size)]
            assert consistency_roots(old, size, mth(0, old), path) == (mth(0, old), root)
            for place in range(len(path)):
                wrong = [*path[:place], bytes(32), *path[place + 1 :]]
                assert consistency_roots(old, size, mth(0, old), wrong) != (mth(0, old), root)
