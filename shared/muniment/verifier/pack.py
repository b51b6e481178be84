"""The container of an evidence pack, read as an enemy's: a tar file of which every byte outside contents is known.

Nothing is unpacked. Each header must be, byte for byte, the one that its name and size make (POSIX ustar, regular
files, fixed modes and times), so there are no links, no sparse or compressed members, no paths that lead elsewhere, and
a size can be no larger than the file is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from muniment.verifier.errors import PackError, Unreadable

BLOCK: Final = 512
MAX_MEMBERS: Final = 300_011
_KNOWN: Final = re.compile(
    r"pack\.json|checkpoint|keys|leaves|versions\.jsonl|deployments\.jsonl|report\.html|SHA256SUMS"
    r"|entries/(0|[1-9][0-9]{0,18})\.json|receipts/(0|[1-9][0-9]{0,18})\.tlog-proof|manifests/[0-9a-f]{64}\.json",
    re.ASCII,
)
_SIZE: Final = re.compile(rb"[0-7]{11}\0")
_CHUNK: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the pack: its content is `size` bytes from `offset`."""

    name: str
    offset: int
    size: int


class Pack:
    """An open pack and its members, in their order."""

    def __init__(self, file: IO[bytes]) -> None:
        """Raises `PackError` for whatever is no pack."""
        self._file = file
        self.members = list(_members(file))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, member: Member, at_most: int) -> bytes:
        """A member's content. Raises `PackError` (`member_too_large`) and `Unreadable`."""
        if member.size > at_most:
            raise PackError(
                "member_too_large",
                f"{member.name} is larger than such a file is",
                expected=f"<= {at_most} B",
                actual=f"{member.size} B",
            )
        return b"".join(self.chunks(member))

    def chunks(self, member: Member) -> Iterator[bytes]:
        """A member's content in pieces. Raises `Unreadable`."""
        left, offset = member.size, member.offset
        while left:
            try:
                self._file.seek(offset)
                chunk = self._file.read(min(left, _CHUNK))
            except OSError as error:
                raise Unreadable(f"{member.name}: {error.strerror or error}") from error
            if not chunk:
                raise PackError("pack_truncated", f"the file ends within {member.name}")
            left, offset = left - len(chunk), offset + len(chunk)
            yield chunk


def open_pack(path: Path) -> Pack:
    """Open a pack. Raises `Unreadable` (the file) and `PackError` (what is in it)."""
    try:
        if not path.is_file():  # a pipe in its place would wait for ever
            raise Unreadable(f"{path}: no file")
        file = path.open("rb")
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror or error}") from error
    try:
        return Pack(file)
    except OSError as error:
        file.close()
        raise Unreadable(f"{path}: {error.strerror or error}") from error
    except BaseException:
        file.close()
        raise


def header(name: str, size: int) -> bytes:
    """The one header that a member with this name and size can have."""
    block = bytearray(BLOCK)

    def put(at: int, text: bytes) -> None:
        block[at : at + len(text)] = text

    put(0, name.encode())
    put(100, b"0000644")
    put(108, b"0000000")
    put(116, b"0000000")
    put(124, f"{size:011o}".encode())
    put(136, b"00000000000")
    put(148, b" " * 8)
    put(156, b"0")
    put(257, b"ustar")
    put(263, b"00")
    put(329, b"0000000")
    put(337, b"0000000")
    put(148, f"{sum(block):06o}\0 ".encode())
    return bytes(block)


def _members(file: IO[bytes]) -> Iterator[Member]:
    end = file.seek(0, 2)
    offset, before, seen = 0, "the beginning", set[str]()
    while True:
        file.seek(offset)
        block = file.read(BLOCK)
        if block == bytes(BLOCK):
            if file.read(BLOCK + 1) != bytes(BLOCK):
                raise PackError("pack_end", f"the pack does not end behind {before}", expected="1,024 zero bytes")
            return
        member = _member(block, offset, before)
        if member.name in seen:
            raise PackError("member_repeated", f"{member.name} is in the pack twice", actual=f"behind {before}")
        seen.add(member.name)
        if len(seen) > MAX_MEMBERS:
            raise PackError("pack_too_large", "the pack has too many files", expected=f"<= {MAX_MEMBERS}")
        stop = member.offset + member.size
        padded = stop + -member.size % BLOCK
        if padded > end:
            raise PackError("pack_truncated", f"the file ends within {member.name}", expected=padded, actual=end)
        file.seek(stop)
        if file.read(padded - stop).strip(b"\0"):
            raise PackError("pack_padding", f"something lies between {member.name} and the next file")
        yield member
        offset, before = padded, member.name


def _member(block: bytes, offset: int, before: str) -> Member:
    if len(block) < BLOCK:
        raise PackError("pack_truncated", f"the file ends behind {before}", expected="its end, 1,024 zero bytes")
    name = block[:100].rstrip(b"\0").decode("ascii", "replace")
    if not _KNOWN.fullmatch(name):
        raise PackError("member_unknown", f"a file behind {before} is none of a pack", actual=repr(name[:100]))
    if not _SIZE.fullmatch(block[124:136]):
        raise PackError("header_malformed", f"the size of {name} is malformed", actual=repr(block[124:136]))
    size = int(block[124:135], 8)
    if block != header(name, size):
        raise PackError("header_malformed", f"the header of {name} is not the one that a pack's file has")
    return Member(name, offset + BLOCK, size)
