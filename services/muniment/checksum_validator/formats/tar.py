"""tar archives: member headers only. Nothing is extracted, here or later (CVE-2025-4517): what a name or a link could
do to an extractor decides whether the file may pass.

Source: POSIX pax interchange format (ustar header, extended headers), GNU tar's long names.
"""

from __future__ import annotations

import re
from typing import Final

from muniment.checksum_validator.formats import pickles
from muniment.checksum_validator.formats.report import Report, clip
from muniment.checksum_validator.formats.source import Cursor, Source
from muniment.checksum_validator.formats.spec import FormatError, Limits
from muniment.contracts.errors import Rejected
from muniment.contracts.file_path import file_path

_BLOCK: Final = 512
_MAX_LONG: Final = 64 * 1024
_FILES: Final = frozenset(b"0\x007")
_FOLDER: Final = ord("5")
_PAX: Final = frozenset(b"xg")
_GNU_NAME: Final = ord("L")
_OCTAL: Final = re.compile(rb" *([0-7]{1,12}+)[ \x00]*")
_PAX_RECORD: Final = re.compile(rb"([0-9]{1,6}) ([A-Za-z.]{1,64})=")
_SHOWN: Final = 16


def recognise(source: Source) -> bool:
    """Whether the first block is a tar header: its checksum is right."""
    head = source.head
    return len(head) >= _BLOCK and (head[257:262] == b"ustar" or head[0] > 0) and _checksum_right(head[:_BLOCK])


def read(source: Source, limits: Limits, report: Report) -> None:
    """Walk the headers, report members. Raises `FormatError`."""
    cursor = Cursor(source, 0, source.size)
    names: list[str] = []
    count = 0
    longer: str | None = None
    while cursor.remaining >= _BLOCK:
        block = cursor.take(_BLOCK)
        if not block.strip(b"\0"):
            break
        if not _checksum_right(block):
            raise FormatError("tar_checksum", "a member's header is damaged", actual=f"byte {cursor.position - _BLOCK}")
        size, kind = _number(block[124:136]), block[156]
        if size > cursor.remaining:
            raise FormatError("truncated", "a member reaches beyond the end", expected=f"<= {cursor.remaining} B")
        if kind in _PAX or kind == _GNU_NAME:
            longer = _long_name(cursor, size, pax=kind in _PAX) or longer
            continue
        count += 1
        if count > limits.archive_members:
            raise FormatError("tar_too_many", "too many members", expected=f"<= {limits.archive_members}")
        name = longer or _name(block)
        longer = None
        _check(name, kind)
        if len(names) < _SHOWN:
            names.append(clip(name))
        window, at = cursor.window(min(size, 256))
        if pickles.may_be_pickle(window[at : at + min(size, 256)], size):
            pickles.mark_executable(report)
        cursor.skip(min(size + -size % _BLOCK, cursor.remaining))
    report.facts |= {"members": count, "names": list(names)}
    report.warn("tar_members_unread", "the members of a tar archive are not looked into; publish files by themselves")


def _check(name: str, kind: int) -> None:
    if kind not in _FILES and kind != _FOLDER:
        raise FormatError(
            "tar_kind", f"member {clip(name)!r} is a link or a device", expected="files and folders", actual=chr(kind)
        )
    try:
        file_path(name.removeprefix("./").removesuffix("/") or "folder")
    except Rejected as error:
        raise FormatError("tar_name", "a member's name is not a plain relative path", actual=clip(name)) from error


def _name(block: bytes) -> str:
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "replace")


def _long_name(cursor: Cursor, size: int, *, pax: bool) -> str | None:
    """The name in an extended header. One that changes sizes is refused: two readers would see two archives."""
    if size > _MAX_LONG:
        raise FormatError(
            "tar_name", "an extended header is too large", expected=f"<= {_MAX_LONG} B", actual=f"{size} B"
        )
    text = cursor.take(size)
    cursor.skip(min(-size % _BLOCK, cursor.remaining))
    if not pax:
        return text.partition(b"\0")[0].decode("utf-8", "replace")
    name: str | None = None
    at = 0
    while at < len(text):
        record = _PAX_RECORD.match(text, at)
        length = int(record[1]) if record else 0
        if not record or length < len(record[0]) + 1 or at + length > len(text):
            raise FormatError("tar_pax", "an extended header is malformed", actual=f"byte {at} of it")
        if record[2] in {b"size", b"linkpath"} or record[2].startswith(b"GNU.sparse"):
            raise FormatError("tar_pax", "an extended header overrides what a member is", actual=record[2].decode())
        if record[2] == b"path":
            name = text[record.end() : at + length - 1].decode("utf-8", "replace")
        at += length
    return name


def _checksum_right(block: bytes) -> bool:
    found = _OCTAL.fullmatch(block[148:156])
    return bool(found) and int(found[1], 8) == sum(block) - sum(block[148:156]) + 8 * 0x20 if found else False


def _number(field: bytes) -> int:
    found = _OCTAL.fullmatch(field.rstrip(b"\0") or b"0")
    if found:
        return int(found[1], 8)
    if field[0] == 0x80:  # GNU's binary sizes, for members of 8 GiB and more
        return int.from_bytes(field[1:], "big")
    raise FormatError("tar_number", "a size is no number", actual=repr(field))
