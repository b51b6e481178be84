"""RFC 6962 hashing, and the verification of inclusion and consistency proofs (RFC 9162 sections 2.1.3.2, 2.1.4.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from muniment.verifier.errors import ProofError

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
MAX_PROOF: Final = 63
"""Hashes of a proof at most: a tree of 2**63 leaves needs no more."""


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Raise `ProofError` unless the proof leads from the leaf hash at `index` to the root of the tree of that size."""
    if not 0 <= index < size:
        raise ProofError("index_out_of_range", "no such entry", expected=f"0 <= index < {size}", actual=index)
    _check_hashes(proof)
    number, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofError("proof_too_long", "the inclusion proof has more hashes than the tree has levels")
        if number & 1 or number == last:
            result = node_hash(sibling, result)
            while number and not number & 1:
                number >>= 1
                last >>= 1
        else:
            result = node_hash(result, sibling)
        number >>= 1
        last >>= 1
    if last:
        raise ProofError("proof_too_short", "the inclusion proof ends before it has reached the root")
    if result != root:
        raise ProofError(
            "root_differs",
            f"the proof does not lead from entry {index} to the root of size {size}",
            expected=root.hex(),
            actual=result.hex(),
        )


def verify_consistency(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Raise `ProofError` unless the proof shows that the new tree begins with the whole old one.

    From size 0 on anything follows: its proof is empty, and its root that of no leaves.
    """
    if not 0 <= old_size <= new_size:
        raise ProofError(
            "sizes_swapped", "the old tree is not the smaller one", expected=f"<= {new_size}", actual=old_size
        )
    _check_hashes(proof)
    if old_size in (0, new_size):
        if proof:
            raise ProofError("proof_too_long", "this consistency proof must be empty", expected=0, actual=len(proof))
        if old_root != (EMPTY_ROOT if old_size == 0 else new_root):
            raise ProofError(
                "root_differs",
                f"two roots of one size, {old_size}" if old_size else "the empty tree has another root",
                expected=(EMPTY_ROOT if old_size == 0 else new_root).hex(),
                actual=old_root.hex(),
            )
        if new_size == 0 and new_root != EMPTY_ROOT:
            raise ProofError(
                "root_differs", "the empty tree has another root", expected=EMPTY_ROOT.hex(), actual=new_root.hex()
            )
        return
    _walk_consistency(old_size, new_size, proof, old_root, new_root)


def _walk_consistency(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not path:
        raise ProofError("proof_too_short", "the consistency proof is empty", expected=">= 1 hash", actual=0)
    number, last = old_size - 1, new_size - 1
    while number & 1:
        number >>= 1
        last >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError("proof_too_long", "the consistency proof has more hashes than the tree has levels")
        if number & 1 or number == last:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
            while number and not number & 1:
                number >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        number >>= 1
        last >>= 1
    if last:
        raise ProofError("proof_too_short", "the consistency proof ends before it has reached the root")
    for size, expected, actual in ((old_size, old_root, old), (new_size, new_root, new)):
        if expected != actual:
            raise ProofError(
                "root_differs",
                f"the consistency proof does not lead to the root of size {size}",
                expected=expected.hex(),
                actual=actual.hex(),
            )


def _check_hashes(proof: Sequence[bytes]) -> None:
    if len(proof) > MAX_PROOF:
        raise ProofError("proof_too_long", "a proof has too many hashes", expected=f"<= {MAX_PROOF}", actual=len(proof))
    for one in proof:
        if len(one) != 32:
            raise ProofError("hash_size", "a proof holds something that is no hash", expected=32, actual=len(one))
