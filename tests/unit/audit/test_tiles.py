"""Tiles: their names, which of them a growth makes, and what they hold."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.audit.merkle import leaf_hash, root_of
from muniment.audit.tiles import (
    Full,
    Growing,
    Tile,
    changed_edge,
    completed,
    edge,
    fold,
    node_of,
    nodes_of,
    parse_path,
    split_bundle,
    wrap,
)
from muniment.contracts.errors import Rejected


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(1, 1000, 17), "tile/1/x001/000.p/17"),
        (Tile(None, 999, 255), "tile/entries/999.p/255"),
    ],
)
def test_paths_are_those_of_the_specification(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert parse_path(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0",
        "tile/0/x000/001",
        "tile/0/001/",
        "tile/00/001",
        "tile/8/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/007",
        "tile/0/../000",
        "tile/0/\u0661\u0661\u0661",
        "tile/-1/000",
        "checkpoint",
    ],
)
def test_no_other_spelling_names_a_tile(path: str) -> None:
    with pytest.raises(Rejected, match="names no tile"):
        parse_path(path)


@given(st.text(max_size=40) | st.from_regex(r"tile/[0-9e]{1,3}/[x0-9/]{1,30}(\.p/[0-9]{1,4})?", fullmatch=True))
def test_a_path_is_read_to_what_it_says_or_refused(path: str) -> None:
    try:
        assert parse_path(path).path == path
    except Rejected as error:
        assert error.code == "audit_tile_path_invalid"


def test_the_edge_is_that_of_the_specification() -> None:
    """The example of c2sp.org/tlog-tiles: 70,000 entries."""
    assert list(edge(70_000)) == [Tile(None, 273, 112), Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert [tile.index for tile in completed(0, 70_000) if tile.level == 0] == list(range(273))
    assert [tile for tile in completed(0, 70_000) if tile.level == 1] == [Tile(1, 0)]
    assert list(edge(0)) == []
    assert list(edge(256)) == [Tile(1, 0, 1)]
    assert list(changed_edge(70_000, 70_001)) == [Tile(None, 273, 113), Tile(0, 273, 113)]


@settings(max_examples=20)
@given(st.integers(0, 900), st.integers(0, 300))
def test_growing_on_from_any_size_gives_the_tiles_of_the_whole(first: int, more: int) -> None:
    data = [b"%d" % number for number in range(first + more)]
    leaves = [leaf_hash(one) for one in data]
    whole, full = Growing(), list[Full]()
    for one, leaf in zip(data, leaves, strict=True):
        full += whole.add(one, leaf)
    start = first - first % 256
    levels = [leaves[start:first], [root_of(leaves[at : at + 256]) for at in range(0, start, 256)]]
    late, full_late = Growing(first, levels, b"".join(map(wrap, data[start:first]))), list[Full]()
    for one, leaf in zip(data[first:], leaves[first:], strict=True):
        full_late += late.add(one, leaf)
    assert late.root() == whole.root() == root_of(leaves)
    assert {one.tile for one in full_late} == set(completed(first, first + more))
    assert [one for one in full if one.tile in {late.tile for late in full_late}] == full_late
    for tile in edge(first + more):
        assert late.content(tile) == whole.content(tile)
        if tile.level is None:
            assert split_bundle(late.content(tile)) == data[tile.first :]
    for one in full:
        if one.tile.level is None:
            assert split_bundle(one.content) == data[one.tile.first : one.tile.first + 256]
        elif one.tile.level == 0:
            assert one.content == b"".join(leaves[one.tile.first : one.tile.first + 256])


def test_a_bundle_gives_lengths_in_two_bytes() -> None:
    assert wrap(b"ab") == b"\x00\x02ab"
    assert split_bundle(wrap(b"x" * 65_535) + wrap(b"")) == [b"x" * 65_535, b""]


@given(st.binary(max_size=200))
def test_no_bytes_make_a_bundle_fail_otherwise(raw: bytes) -> None:
    try:
        assert b"".join(map(wrap, split_bundle(raw))) == raw
    except Rejected as error:
        assert error.code == "audit_bundle_invalid"


def test_the_root_of_a_full_tile_is_the_hash_above() -> None:
    growing = Growing()
    full = [
        one for number in range(256) for one in growing.add(b"%d" % number, hashlib.sha256(b"%d" % number).digest())
    ]
    assert [(one.tile.path, len(one.content)) for one in full][1] == ("tile/0/000", 8192)
    assert growing.content(Tile(1, 0, 1)) == full[1].root == growing.root()


def test_the_nodes_of_a_full_tile_are_the_roots_of_all_its_subtrees() -> None:
    hashes = [hashlib.sha256(b"%d" % number).digest() for number in range(256)]
    nodes = nodes_of(b"".join(hashes))
    assert len(nodes) == 32 * 510
    for count in (1, 2, 4, 8, 16, 32, 64, 128):
        for first in range(0, 256, count):
            assert node_of(nodes, first, count) == fold(hashes[first : first + count])
