"""All leaf hashes of a range of a log, shown to be the log's by the roots of the subtrees around it.

A tree's size is signed, so a range has as many entries as its ends say. Whoever has only some of them, with the leaf
hashes of all, can show that there are no others, and which ones are withheld, without their content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from muniment.verifier.errors import ProofError
from muniment.verifier.hashing import node_hash

HASH: Final = 32


def around(first: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """The subtrees of the tree of `size` leaves that lie outside the leaves `first` to before `end`, left to right."""
    waiting = [(0, size)] if size else []
    while waiting:
        start, stop = waiting.pop()
        if stop <= first or start >= end:
            yield start, stop
        elif start < first or stop > end:
            middle = _middle(start, stop)
            waiting += [(middle, stop), (start, middle)]


def verify_span(first: int, end: int, size: int, raw: bytes, root: bytes) -> list[bytes]:
    """The leaf hashes of a range: `raw` has them, then the roots of `around`. Raises `ProofError` unless they lead to
    the root of the tree of `size` leaves.
    """
    count, others = end - first, sum(1 for _ in around(first, end, size))
    if len(raw) != HASH * (count + others):
        raise ProofError(
            "leaves_malformed",
            "the leaf hashes of the range are not as many as its ends say",
            expected=f"{count} leaf hashes and {others} roots around them, {HASH * (count + others)} B",
            actual=f"{len(raw)} B",
        )
    hashes = [raw[at : at + HASH] for at in range(0, len(raw), HASH)]
    leaves, roots = hashes[:count], iter(hashes[count:])

    def node(start: int, stop: int) -> bytes:
        if stop <= first or start >= end:
            return next(roots)
        if stop - start == 1:
            return leaves[start - first]
        middle = _middle(start, stop)
        left = node(start, middle)
        return node_hash(left, node(middle, stop))

    found = node(0, size)
    if found != root:
        raise ProofError(
            "root_differs",
            f"the leaf hashes of {first} to before {end} do not lead to the root of size {size}",
            expected=root.hex(),
            actual=found.hex(),
        )
    return leaves


def withheld(first: int, end: int, given: Iterable[int]) -> Iterator[tuple[int, int]]:
    """What is between the given indexes of a range, as runs from an index to before another."""
    after = first
    for index in sorted(index for index in given if first <= index < end):
        if index > after:
            yield after, index
        after = index + 1
    if after < end:
        yield after, end


def runs_text(runs: Sequence[tuple[int, int]]) -> list[str]:
    """Runs for people, such as `7` and `9-12`."""
    return [str(start) if stop - start == 1 else f"{start}-{stop - 1}" for start, stop in runs]


def _middle(start: int, stop: int) -> int:
    return start + (1 << ((stop - start - 1).bit_length() - 1))
