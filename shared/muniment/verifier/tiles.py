"""C2SP tlog-tiles: where tiles and entry bundles lie, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from muniment.verifier.errors import TileError
from muniment.verifier.tree import WIDTH

HASH: Final = 32
MAX_ENTRY: Final = 65_535
MAX_TILE: Final = WIDTH * HASH
MAX_BUNDLE: Final = WIDTH * (2 + MAX_ENTRY)
CHECKPOINT: Final = "checkpoint"


def tile_path(level: int, number: int, width: int = WIDTH) -> str:
    """`tile/L/N`, with `.p/W` for the first `width` hashes of a tile."""
    return f"tile/{level}/{_number(number)}{_part(width)}"


def entries_path(number: int, width: int = WIDTH) -> str:
    """`tile/entries/N`, with `.p/W` for the first `width` entries of a bundle."""
    return f"tile/entries/{_number(number)}{_part(width)}"


def _number(number: int) -> str:
    """Groups of three digits, `x` before all but the last: 1234067 is `x001/x234/067`."""
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.append(f"x{number % 1000:03d}")
    return "/".join(reversed(groups))


def _part(width: int) -> str:
    return "" if width == WIDTH else f".p/{width}"


def hashes_of(tile: bytes, width: int) -> list[bytes]:
    """The hashes of a tile of that width. Raises `TileError`."""
    if len(tile) != width * HASH:
        raise TileError(
            "tile_malformed",
            "the tile has another size than its hashes",
            at=min(len(tile) // HASH, width - 1),
            expected=f"{width * HASH} B",
            actual=f"{len(tile)} B",
        )
    return [tile[at : at + HASH] for at in range(0, len(tile), HASH)]


def entries_of(bundle: bytes, width: int) -> Iterator[bytes]:
    """The entries of a bundle of that width, each written after its length in 16 bits, big-endian.

    Raises `TileError` after the last whole entry if the bundle ends too early or goes on; `at` says which entry.
    """
    start = 0
    for at in range(width):
        end = start + 2
        start = end + int.from_bytes(bundle[start:end], "big")
        if start > len(bundle) or end > len(bundle):
            raise _malformed("the bundle ends inside an entry", at, width, f"{at} entries and some bytes")
        yield bundle[end:start]
    if start != len(bundle):
        raise _malformed("the bundle goes on after its last entry", width - 1, width, f"{len(bundle) - start} B more")


def _malformed(message: str, at: int, width: int, actual: str) -> TileError:
    return TileError("bundle_malformed", message, at=at, expected=f"{width} entries", actual=actual)
