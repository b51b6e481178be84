"""The protobuf wire format, as far as it takes to walk messages without their schema's code.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from typing import Final

from muniment.checksum_validator.formats.source import Cursor
from muniment.checksum_validator.formats.spec import FormatError

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5


def varint(cursor: Cursor) -> int:
    """An unsigned number of at most 64 bits in at most ten bytes."""
    value = cursor.byte()
    if value < 0x80:
        return value
    value &= 0x7F
    for shift in range(7, 70, 7):
        byte = cursor.byte()
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value
    raise FormatError("protobuf_varint", "a number has more than 64 bits", actual=f"byte {cursor.position}")


def field(cursor: Cursor, end: int) -> tuple[int, int, int]:
    """The next field of a message that ends at `end`: number, wire type, and its length in bytes.

    The cursor is left at the field's content; of a varint the third value is the number itself, already taken.
    """
    tag = varint(cursor)
    number, wire = tag >> 3, tag & 7
    if wire in {VARINT, BYTES}:
        value = varint(cursor)
    elif wire == FIXED64:
        value = 8
    elif wire == FIXED32:
        value = 4
    else:
        raise FormatError("protobuf_wire_type", "a field has a type that is not used", actual=f"type {wire}")
    if not 0 < number < 1 << 29:
        raise FormatError("protobuf_field", "a field's number is out of range", actual=number)
    if cursor.position + (0 if wire == VARINT else value) > end:
        raise FormatError(
            "truncated",
            "a field reaches beyond its message",
            expected=f"<= {max(0, end - cursor.position)} B",
            actual=f"{value} B",
        )
    return number, wire, value
