"""Proofs of every tree up to 130 leaves: each is accepted, and none of its mutations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import pytest

from muniment.verifier.errors import ProofError
from muniment.verifier.hashing import verify_consistency, verify_inclusion

from .naive import Tree, leaf

LARGEST = 130
TREE = Tree([leaf(b"%d" % number) for number in range(LARGEST + 1)])
ROOTS = [TREE.root(0, size) for size in range(LARGEST + 2)]


def flipped(one: bytes, byte: int) -> bytes:
    return one[:byte] + bytes([one[byte] ^ 1]) + one[byte + 1 :]


def mutations(proof: Sequence[bytes], turn: int) -> Iterator[tuple[str, list[bytes]]]:
    """Other proofs than this one, in ten ways; `turn` moves the place."""
    path = list(proof)
    other = hashlib.sha256(b"%d" % turn).digest()
    yield "one more at the end", [*path, other]
    yield "one more at the start", [other, *path]
    yield "the last twice", [*path, path[-1] if path else other]
    if not path:
        return
    at = turn % len(path)
    yield "empty", []
    yield "without one", path[:at] + path[at + 1 :]
    yield "another hash", [*path[:at], other, *path[at + 1 :]]
    yield "a flipped bit", [*path[:at], flipped(path[at], turn % 32), *path[at + 1 :]]
    yield "a short hash", [*path[:at], path[at][:31], *path[at + 1 :]]
    yield "a long hash", [*path[:at], path[at] + b"\0", *path[at + 1 :]]
    if len(path) > 1 and path[at] != path[at - 1]:
        swapped = list(path)
        swapped[at], swapped[at - 1] = swapped[at - 1], swapped[at]
        yield "two swapped", swapped


def test_inclusion_of_every_leaf_in_every_tree() -> None:
    accepted = []
    for size in range(1, LARGEST + 1):
        for index in range(size):
            proof = TREE.path(index, 0, size)
            verify_inclusion(index, size, TREE.leaves[index], proof, ROOTS[size])
            wrong = [
                ("another index", (index ^ 1, size, TREE.leaves[index], proof, ROOTS[size])),
                ("an index beyond", (size, size, TREE.leaves[index], proof, ROOTS[size])),
                ("a negative index", (-1, size, TREE.leaves[index], proof, ROOTS[size])),
                ("another leaf", (index, size, TREE.leaves[index + 1], proof, ROOTS[size])),
                ("another root", (index, size, TREE.leaves[index], proof, ROOTS[size - 1])),
            ]
            if size > 1:
                wrong.append(("the root as leaf", (index, size, ROOTS[size], [], ROOTS[size])))
            wrong += [
                (name, (index, size, TREE.leaves[index], path, ROOTS[size]))
                for name, path in mutations(proof, size + index)
            ]
            accepted += [(name, size, index) for name, given in wrong if not refused(verify_inclusion, given)]
    assert accepted == []


def test_consistency_of_every_pair_of_trees() -> None:
    accepted = []
    for new in range(LARGEST + 1):
        for old in range(new + 1):
            proof = TREE.consistency(old, 0, new) if old else []
            verify_consistency(old, new, proof, ROOTS[old], ROOTS[new])
            wrong = [("another old root", (old, new, proof, flipped(ROOTS[old], old % 32), ROOTS[new]))]
            if old:  # to the tree of no leaves everything is consistent
                wrong.append(("another new root", (old, new, proof, ROOTS[old], ROOTS[new + 1])))
            if old != new:
                wrong.append(("sizes swapped", (new, old, proof, ROOTS[new], ROOTS[old])))
                wrong.append(("roots swapped", (old, new, proof, ROOTS[new], ROOTS[old])))
            wrong += [(name, (old, new, path, ROOTS[old], ROOTS[new])) for name, path in mutations(proof, old + new)]
            accepted += [(name, old, new) for name, given in wrong if not refused(verify_consistency, given)]
    assert accepted == []


def test_a_proof_of_too_many_hashes_is_refused_before_it_is_hashed() -> None:
    with pytest.raises(ProofError, match="too many"):
        verify_inclusion(0, 2**62, b"l" * 32, [b"p" * 32] * 64, b"r" * 32)


def refused(verify: object, given: tuple[object, ...]) -> bool:
    try:
        verify(*given)  # type: ignore[operator]  # reason: one of two functions with their own arguments
    except ProofError:
        return True
    return False
