"""The structure of a zip file: end records, central directory, local headers, and that all of them agree.

A zip says everything twice, and readers differ in which half they believe (CVE-2025-1944, -1945, -10156). Whatever lets
two readers see two archives is refused: disagreement of a local header with the directory, bytes that belong to no
member, overlaps, repeated names, more than one end record, anything before the first member.

Source: PKWARE APPNOTE 6.3.10; what PyTorch writes (data descriptors, padding in extra fields, a zip64 end always) was
seen in its files.
"""

from __future__ import annotations

import stat
import struct
import zlib
from typing import Final, NamedTuple

from muniment.checksum_validator.formats.report import clip
from muniment.checksum_validator.formats.source import Cursor, Source
from muniment.checksum_validator.formats.spec import FormatError, Limits
from muniment.checksum_validator.formats.zip_end import CENTRAL_MAGIC, directory
from muniment.contracts.errors import Rejected
from muniment.contracts.file_path import file_path

LOCAL_MAGIC: Final = b"PK\x03\x04"
STORED: Final = 0
DEFLATED: Final = 8
PEEK_BYTES: Final = 256
"""How much of each member's content is looked at in passing."""

_DESCRIPTOR_MAGIC: Final = b"PK\x07\x08"
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")

_HAS_DESCRIPTOR: Final = 0x0008
_UTF8: Final = 0x0800
_FLAGS: Final = _HAS_DESCRIPTOR | _UTF8 | 0x0006  # and the two deflate level bits
_SENTINEL: Final = 0xFFFFFFFF
_UNIX: Final = 3


class Member(NamedTuple):
    """One entry, once directory and local header agree on it. `peek` is the beginning of its content, decompressed."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    start: int
    peek: bytes


class _Entry(NamedTuple):
    """One entry as the central directory has it."""

    raw_name: bytes
    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


def read_members(source: Source, limits: Limits) -> list[Member]:
    """Every member, in the order of their bytes. Raises `FormatError` on any disagreement."""
    start, end, count = directory(source, limits)
    entries = _entries(source, start, end, count)
    return _agree(source, sorted(entries, key=lambda entry: entry.offset), start, limits)


def _entries(source: Source, start: int, end: int, count: int) -> list[_Entry]:
    cursor = Cursor(source, start, end)
    entries: list[_Entry] = []
    names: set[str] = set()
    for _ in range(count):
        raw = cursor.take(_CENTRAL.size)
        (magic, made_by, _, flags, method, _, _, crc, packed, size, name_length, extra_length, comment_length, disk, _,
         attributes, offset) = _CENTRAL.unpack(raw)  # fmt: skip
        if magic != CENTRAL_MAGIC or disk not in {0, 0xFFFF}:
            raise FormatError("zip_directory", "the directory holds something else than entries", actual=repr(magic))
        raw_name = cursor.take(name_length)
        extra = cursor.take(extra_length)
        cursor.skip(comment_length)
        size, packed, offset = _wide(extra, size, packed, offset)
        name = _name(raw_name, flags, size)
        # Readers that ignore case (PyTorch's is one) must not find another member than the others.
        if name.casefold() in names:
            raise FormatError("zip_duplicate", "two members have one name", actual=clip(name))
        names.add(name.casefold())
        _check_kind(name, flags, method, made_by >> 8, attributes >> 16)
        entries.append(_Entry(raw_name, name, flags, method, crc, packed, size, offset))
    if cursor.remaining:
        raise FormatError("zip_directory", "the directory has more than its entries", actual=f"{cursor.remaining} B")
    return entries


def _name(raw: bytes, flags: int, size: int) -> str:
    try:
        name = raw.decode("utf-8" if flags & _UTF8 else "cp437")
        folder = name.endswith("/") and not size
        file_path(name[:-1] if folder else name)
    except (UnicodeDecodeError, Rejected) as error:
        raise FormatError(
            "zip_name",
            "a member's name is not a plain relative path",
            expected="a path without '..', drive, backslash or control characters",
            actual=repr(raw[:96]),
        ) from error
    return name


def _check_kind(name: str, flags: int, method: int, system: int, mode: int) -> None:
    if flags & ~_FLAGS:
        raise FormatError(
            "zip_flags",
            f"member {clip(name)!r} is encrypted or uses what readers disagree about",
            actual=f"{flags:#06x}",
        )
    if method not in {STORED, DEFLATED}:
        raise FormatError(
            "zip_method", f"member {clip(name)!r}", expected="stored or deflated", actual=f"method {method}"
        )
    if system == _UNIX and stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise FormatError("zip_kind", f"member {clip(name)!r} is a link or a device", actual=stat.filemode(mode))


def _wide(extra: bytes, *values: int) -> list[int]:
    """Sizes and offset with those that stand in the zip64 extra field put in, in the order of APPNOTE 4.5.3."""
    resolved = list(values)
    wanted = [index for index, value in enumerate(values) if value == _SENTINEL]
    at = 0
    while wanted and at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 0x0001 and length >= 8 * len(wanted) and at + 4 + length <= len(extra):
            for position, index in enumerate(wanted):
                resolved[index] = struct.unpack_from("<Q", extra, at + 4 + 8 * position)[0]
            return resolved
        at += 4 + length
    if wanted:
        raise FormatError("zip64_disagrees", "a member's zip64 sizes are missing")
    return resolved


def _agree(source: Source, entries: list[_Entry], end: int, limits: Limits) -> list[Member]:
    """Walk the local headers in the order of their bytes and compare each with its entry."""
    cursor = Cursor(source, 0, end)
    members: list[Member] = []
    previous: _Entry | None = None
    for entry in entries:
        _close_gap(cursor, previous, entry.offset)
        members.append(_member(cursor, entry, limits))
        cursor.skip(entry.packed)
        previous = entry
    _close_gap(cursor, previous, end)
    return members


def _close_gap(cursor: Cursor, previous: _Entry | None, offset: int) -> None:
    """Up to the next header there may be the data descriptor of the member before, and nothing else."""
    gap = offset - cursor.position
    if previous and previous.flags & _HAS_DESCRIPTOR and gap in {12, 16, 20, 24}:
        raw = cursor.take(gap).removeprefix(_DESCRIPTOR_MAGIC) if gap in {16, 24} else cursor.take(gap)
        layout = "<LLL" if len(raw) == 12 else "<LQQ"
        if len(raw) in {12, 20} and struct.unpack(layout, raw) == (previous.crc, previous.packed, previous.size):
            return
        raise _disagrees(previous.name, "data descriptor")
    if gap:
        raise FormatError(
            "zip_overlap" if gap < 0 else "zip_hidden_bytes",
            "members overlap" if gap < 0 else "bytes between the members belong to none of them",
            expected=f"byte {cursor.position}",
            actual=f"byte {offset}",
        )


def _member(cursor: Cursor, entry: _Entry, limits: Limits) -> Member:
    magic, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(
        cursor.take(_LOCAL.size)
    )
    if magic != LOCAL_MAGIC or name_length != len(entry.raw_name) or cursor.take(name_length) != entry.raw_name:
        raise _disagrees(entry.name, "name or place")
    size, packed = _wide(cursor.take(extra_length), size, packed)
    if (flags, method) != (entry.flags, entry.method):
        raise _disagrees(entry.name, "flags or method")
    known = (crc, packed, size) == (entry.crc, entry.packed, entry.size)
    if not known and not (flags & _HAS_DESCRIPTOR and (crc, packed, size) == (0, 0, 0)):
        raise _disagrees(entry.name, "checksum or sizes")
    if method == STORED and entry.packed != entry.size:
        raise _disagrees(entry.name, "sizes of a stored member")
    if entry.packed > cursor.remaining:
        raise FormatError("truncated", f"member {clip(entry.name)!r} reaches into the directory")
    if entry.size > 1024 * 1024 and entry.size > entry.packed * limits.zip_ratio:
        raise FormatError(
            "zip_ratio",
            f"member {clip(entry.name)!r} grows too much",
            expected=f"<= {limits.zip_ratio} : 1",
            actual=f"{entry.packed} B to {entry.size} B",
        )
    window, at = cursor.window(min(2 * PEEK_BYTES, entry.packed))
    peek = window[at : at + min(2 * PEEK_BYTES, entry.packed)]
    if method == DEFLATED:
        try:
            peek = zlib.decompressobj(-zlib.MAX_WBITS).decompress(peek, PEEK_BYTES)
        except zlib.error as error:
            raise FormatError("decompression_failed", f"member {clip(entry.name)!r}: {error}") from error
    return Member(entry.name, method, entry.crc, entry.packed, entry.size, cursor.position, peek[:PEEK_BYTES])


def _disagrees(name: str, what: str) -> FormatError:
    return FormatError(
        "zip_disagrees",
        f"the directory and the local header of {clip(name)!r} disagree: {what}",
        hint="two readers would see two archives; write the file again",
    )
