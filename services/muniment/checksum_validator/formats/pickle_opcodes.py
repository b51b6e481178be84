"""Pickle's opcodes and their arguments, read without building what they describe.

The table is the standard library's own description of its opcodes (`pickletools`), so a Python with new opcodes brings
them along. Arguments are read here: a length beyond the end of the file is refused before anything is read.
"""

from __future__ import annotations

import pickletools
import re
from typing import Final, NamedTuple

from muniment.checksum_validator.formats.source import Cursor
from muniment.checksum_validator.formats.spec import FormatError

MAX_TEXT: Final = 128
"""Texts up to this length are kept: module and attribute names are shorter."""
_MAX_NAME: Final = 500
_MAX_NUMBER: Final = 64
_INTEGER: Final = re.compile(rb"-?(?:0|[1-9][0-9]{0,18})L?")
_NUMBER: Final = re.compile(rb"\s*[-+.0-9][-+._0-9a-fA-FxXoObBlLeE\s]*|\s*[-+]?(?i:nan|inf(?:inity)?)\s*")

_COUNTED: Final = {
    pickletools.TAKEN_FROM_ARGUMENT1: (1, False),
    pickletools.TAKEN_FROM_ARGUMENT4: (4, True),
    pickletools.TAKEN_FROM_ARGUMENT4U: (4, False),
    pickletools.TAKEN_FROM_ARGUMENT8U: (8, False),
}


class Opcode(NamedTuple):
    """One opcode: its argument's encoding, and what it takes from and puts on the stack."""

    name: str
    argument: str
    width: int
    takes: int
    to_mark: bool
    gives: int


class Text:
    """Some text that is too long to be a name, or that holds escapes."""


class Data(NamedTuple):
    """Bytes that an opcode carries, not read: where they are."""

    start: int
    length: int


SOME_TEXT: Final = Text()
Argument = str | int | bytes | Data | Text | None


def _opcode(info: pickletools.OpcodeInfo) -> Opcode:
    argument = info.arg
    to_mark = pickletools.stackslice in info.stack_before
    special = {pickletools.markobject, pickletools.stackslice}
    return Opcode(
        name=info.name,
        argument=argument.name if argument else "",
        width=argument.n if argument else 0,
        takes=sum(item not in special for item in info.stack_before),
        to_mark=to_mark,
        gives=len(info.stack_after),
    )


OPCODES: Final[dict[int, Opcode]] = {ord(info.code): _opcode(info) for info in pickletools.opcodes}


def argument(cursor: Cursor, opcode: Opcode) -> Argument:
    """The opcode's argument: a number, a name, the place of larger data. Raises `FormatError`."""
    width, kind = opcode.width, opcode.argument
    if width > 0:
        return int.from_bytes(cursor.take(width), "little", signed=kind == "int4")
    if width == 0:
        return None
    if width == pickletools.UP_TO_NEWLINE:
        return _line(cursor, kind)
    size, signed = _COUNTED[width]
    length = int.from_bytes(cursor.take(size), "little", signed=signed)
    if not 0 <= length <= cursor.remaining:
        raise FormatError(
            "truncated",
            f"{opcode.name} declares more than the file holds",
            expected=f"0 to {cursor.remaining} B",
            actual=f"{length} B",
        )
    if kind.startswith("long"):
        if length > _MAX_NUMBER:
            cursor.skip(length)
            return None
        return int.from_bytes(cursor.take(length), "little", signed=True)
    if kind.startswith(("unicode", "string")):
        if length > MAX_TEXT:
            cursor.skip(length)
            return SOME_TEXT
        return _decode(cursor.take(length))
    return Data(cursor.position, length)


def _line(cursor: Cursor, kind: str) -> Argument:
    line = cursor.line(_MAX_NAME)
    if kind == "stringnl_noescape_pair":
        return _name(line) + "\n" + _name(cursor.line(_MAX_NAME))
    if kind == "stringnl":
        if line[:1] not in {b"'", b'"'}:
            raise FormatError("pickle_malformed", "a text is not quoted", actual=f"byte {cursor.position}")
        return _unescaped(line[1:-1])
    if kind == "unicodestringnl":
        return _unescaped(line)
    if kind.startswith(("decimalnl", "float")):
        return _number(line, cursor.position)
    return None


def _number(line: bytes, position: int) -> int | None:
    """A plain integer; None for any other spelling that some unpickler takes for a number."""
    if _INTEGER.fullmatch(line):
        return int(line.removesuffix(b"L"))
    if not _NUMBER.fullmatch(line):
        raise FormatError("pickle_malformed", "a number is not one", actual=f"byte {position}")
    return None


def _unescaped(raw: bytes) -> str | Text:
    # Escapes are left alone: a name that needs them is not one that anyone honest writes.
    return SOME_TEXT if b"\\" in raw or len(raw) > MAX_TEXT else raw.decode("latin-1")


def _name(raw: bytes) -> str:
    name = raw.decode("utf-8", "replace")
    if not name.isprintable() or " " in name or "\ufffd" in name or not 0 < len(raw) <= _MAX_NAME:
        raise FormatError("pickle_malformed", "a global has a name that no module has", actual=repr(raw[:64]))
    return name


def _decode(raw: bytes) -> str | Text:
    try:
        return raw.decode("utf-8") if len(raw) <= MAX_TEXT else SOME_TEXT
    except UnicodeDecodeError:
        return SOME_TEXT
