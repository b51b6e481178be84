"""RFC 6962 hashing against the vectors of certificate transparency, and against the definition."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.audit.merkle import EMPTY_ROOT, Frontier, grow, leaf_hash, node_hash, root_of

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def by_definition(data: Sequence[bytes]) -> bytes:
    """MTH as RFC 6962 section 2.1 writes it, with hashing of its own."""
    if not data:
        return hashlib.sha256(b"").digest()
    if len(data) == 1:
        return hashlib.sha256(b"\x00" + data[0]).digest()
    split = 1
    while split * 2 < len(data):
        split *= 2
    return hashlib.sha256(b"\x01" + by_definition(data[:split]) + by_definition(data[split:])).digest()


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_the_transparency_vectors(size: int) -> None:
    assert root_of([leaf_hash(data) for data in LEAVES[:size]]).hex() == ROOTS[size]


def test_leaves_and_nodes_are_hashed_apart() -> None:
    assert leaf_hash(b"") == hashlib.sha256(b"\x00").digest()
    assert node_hash(b"l" * 32, b"r" * 32) == hashlib.sha256(b"\x01" + b"l" * 32 + b"r" * 32).digest()
    assert leaf_hash(b"l" * 32 + b"r" * 32) != node_hash(b"l" * 32, b"r" * 32)


def test_growing_gives_the_defined_root_at_every_size_up_to_200() -> None:
    data = [f"entry {number}".encode() for number in range(200)]
    tree = Frontier()
    assert tree.root() == EMPTY_ROOT == by_definition([])
    for size, item in enumerate(data, start=1):
        tree = tree.append(leaf_hash(item))
        assert tree.size == size
        assert len(tree.nodes) == size.bit_count()
        assert tree.root() == by_definition(data[:size]), f"size {size}"


@given(st.lists(st.binary(max_size=40), max_size=70), st.data())
def test_a_tree_continues_from_a_stored_frontier(data: list[bytes], draw: st.DataObject) -> None:
    leaves = [leaf_hash(item) for item in data]
    split = draw.draw(st.integers(0, len(leaves)))
    tree = Frontier()
    for leaf in leaves[:split]:
        tree = tree.append(leaf)
    restored = Frontier(tree.size, tuple(bytes(node) for node in tree.nodes))
    for leaf in leaves[split:]:
        restored = restored.append(leaf)
    assert restored.root() == by_definition(data)


@pytest.mark.parametrize(
    ("size", "nodes"),
    [(-1, ()), (0, (b"x" * 32,)), (1, ()), (3, (b"x" * 32,)), (1, (b"x" * 31,)), (1, (b"",))],
)
def test_a_frontier_that_cannot_be_is_refused(size: int, nodes: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match=r"frontier|bytes"):
        Frontier(size, nodes)


@given(st.integers(0, 300), st.integers(0, 40))
def test_growing_by_many_is_growing_one_by_one(size: int, more: int) -> None:
    leaves = [leaf_hash(b"%d" % number) for number in range(size + more)]
    tree = Frontier()
    for leaf in leaves[:size]:
        tree = tree.append(leaf)
    grown, roots = grow(tree, leaves[size:])
    for leaf, root in zip(leaves[size:], roots, strict=True):
        tree = tree.append(leaf)
        assert tree.root() == root
    assert grown == tree
