"""The pack's container: a tar file (POSIX ustar) of which every byte follows from names and contents. Pure.

Times, owners and modes are always the same, nothing is compressed or padded further, so the same members make the same
file, and a verifier can demand each header byte for byte.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Final

BLOCK: Final = 512
SUMS: Final = "SHA256SUMS"
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?", re.ASCII)
_MAX_SIZE: Final = 8**11 - 1


def member(name: str, content: bytes) -> bytes:
    """One file with its header."""
    return header(name, len(content)) + content + padding(len(content))


def header(name: str, size: int) -> bytes:
    """The header of a regular file. Raises `ValueError` for a name or size that has none."""
    if not _NAME.fullmatch(name) or len(name) > 100 or not 0 <= size <= _MAX_SIZE:
        raise ValueError(f"no member of a pack: {name!r}, {size} bytes")
    fields = (
        name.encode().ljust(100, b"\0"),
        b"0000644\0",  # mode
        b"0000000\0",  # owner
        b"0000000\0",  # group
        b"%011o\0" % size,
        b"%011o\0" % 0,  # time
        b" " * 8,  # the check sum, as it is summed
        b"0",  # a regular file
        bytes(100),
        b"ustar\x0000",
        bytes(32 + 32),
        b"0000000\0" * 2,  # device
        bytes(155 + 12),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padding(size: int) -> bytes:
    """What fills a content of that size up to a block."""
    return bytes(-size % BLOCK)


class Sums:
    """The SHA-256 of every member, in their order: the last member, as `sha256sum -c` takes it."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    def small(self, name: str, content: bytes) -> bytes:
        """A member in memory, noted."""
        self._note(name, hashlib.sha256(content).hexdigest())
        return member(name, content)

    def streamed(self, name: str, size: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """A member in pieces that are `size` bytes together, noted."""
        digest = hashlib.sha256()
        yield header(name, size)
        for chunk in chunks:
            digest.update(chunk)
            yield chunk
        yield padding(size)
        self._note(name, digest.hexdigest())

    def end(self) -> bytes:
        """The list itself, and the end of the archive."""
        return member(SUMS, b"".join(self._lines)) + bytes(2 * BLOCK)

    def _note(self, name: str, digest: str) -> None:
        self._lines.append(f"{digest}  {name}\n".encode())
