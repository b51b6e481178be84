"""NumPy's array file: magic, version, a Python literal that describes the array, then its bytes or a pickle.

The literal is read by a small parser of its own (texts, integers, True, False, None, tuples, lists, dicts), bounded in
length and depth. Source: numpy/lib/format.py (the format's documentation is its docstring).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from muniment.checksum_validator.formats import pickles
from muniment.checksum_validator.formats.pickle_state import Tally
from muniment.checksum_validator.formats.report import Report, clip
from muniment.checksum_validator.formats.source import ByteSource, Cursor, Source
from muniment.checksum_validator.formats.spec import FormatError, Json, Limits

MAGIC: Final = b"\x93NUMPY"
_MAX_HEADER: Final = 65_535
_MAX_DEPTH: Final = 8
_MAX_RANK: Final = 64  # NumPy 2's own
# Escapes in texts are left as they are: a field's name may have them, and nothing else that is taken does.
_TOKEN: Final = re.compile(
    rb"[ \n\t]*+(?:'((?:[^'\\\n]|\\.)*+)'|\"((?:[^\"\\\n]|\\.)*+)\"|([0-9]{1,20}+)L?|(True|False|None)|([][(){},:]))"
)
_CODE: Final = re.compile(r"[<>|=]?([?biufcmMSUaOV])([0-9]{0,9})(?:\[[0-9A-Za-z/]{1,16}\])?")

_Literal = str | int | bool | None | list["_Literal"] | tuple["_Literal", ...] | dict[str, "_Literal"]


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """What an array is: its type as NumPy writes it, its shape, where its bytes begin and how many there should be."""

    dtype: str
    shape: tuple[int, ...]
    objects: bool
    start: int
    data_bytes: int

    def facts(self) -> dict[str, Json]:
        """Type and shape."""
        return {"dtype": clip(self.dtype), "shape": list(self.shape)}


def recognise(source: Source) -> bool:
    """Whether the file begins with the magic."""
    return source.head.startswith(MAGIC)


def read(source: Source, limits: Limits, report: Report) -> None:
    """Check the header and the size, follow the pickle of an object array. Raises `FormatError`."""
    header = read_header(source, source.size)
    report.facts |= header.facts()
    if header.objects:
        tally = Tally(limits)
        try:
            extra = source.size - pickles.follow(source, header.start, source.size, tally, report, tail=True)
        finally:
            pickles.judge(tally, report)
    else:
        extra = source.size - header.start - header.data_bytes
    if extra:
        report.warn("npy_trailing_bytes", f"{extra} B follow the array")


def read_header(source: ByteSource, size: int) -> NpyHeader:
    """The header of an array file of `size` bytes; without objects its data is known to fit. Raises `FormatError`."""
    cursor = Cursor(source, 0, size)
    if cursor.take(6) != MAGIC:
        raise _malformed("the magic is missing")
    major, minor = cursor.byte(), cursor.byte()
    if (major, minor) not in {(1, 0), (2, 0), (3, 0)}:
        raise FormatError("npy_version", "this version is not known", expected="1.0 to 3.0", actual=f"{major}.{minor}")
    length = cursor.unsigned(2 if major == 1 else 4)
    if length > _MAX_HEADER:
        raise FormatError("header_too_large", "the header is too large", expected=f"<= {_MAX_HEADER} B", actual=length)
    text = cursor.take(length)
    fields, end = _literal(text, 0, 0)
    if text[end:].strip(b" \n") or not isinstance(fields, dict) or fields.keys() != {"descr", "fortran_order", "shape"}:
        raise _malformed("the header is {'descr': ..., 'fortran_order': ..., 'shape': ...}")
    shape = fields["shape"]
    if not isinstance(shape, tuple) or len(shape) > _MAX_RANK or not isinstance(fields["fortran_order"], bool):
        raise _malformed("shape or fortran_order")
    dimensions = tuple(_dimension(value) for value in shape)
    item, objects = _item(fields["descr"])
    total = item
    for dimension in dimensions:
        total *= dimension
        if total >= 1 << 63:
            raise FormatError("shape_overflow", "the array has more than 2**63 bytes")
    start = cursor.position
    if not objects and total > size - start:
        raise FormatError(
            "truncated",
            "the array does not fit into the file",
            expected=f"{total} B of data",
            actual=f"{size - start} B",
        )
    descr = fields["descr"]
    return NpyHeader(descr if isinstance(descr, str) else repr(descr), dimensions, objects, start, total)


def _item(descr: _Literal) -> tuple[int, bool]:
    """Bytes of one item, and whether it holds objects."""
    if isinstance(descr, str):
        code = _CODE.fullmatch(descr)
        if not code:
            raise _malformed(f"a dtype {clip(descr)!r}")
        return int(code[2] or 1) * (4 if code[1] == "U" else 1), code[1] == "O"
    if not isinstance(descr, list) or not descr:
        raise _malformed("a dtype is a text or a list of fields")
    total, objects = 0, False
    for field in descr:
        if not isinstance(field, tuple) or len(field) not in {2, 3}:
            raise _malformed("a field is (name, dtype) or (name, dtype, shape)")
        size, inner = _item(field[1])
        shape = field[2] if len(field) == 3 else ()
        for dimension in shape if isinstance(shape, tuple) else (shape,):
            size *= _dimension(dimension)
        total, objects = min(total + size, 1 << 63), objects or inner
    return total, objects


def _dimension(value: _Literal) -> int:
    if type(value) is not int:
        raise _malformed("a dimension is no integer")
    return value


def _literal(text: bytes, at: int, depth: int) -> tuple[_Literal, int]:
    """The literal at an index, and the index behind it."""
    token = _TOKEN.match(text, at)
    if not token or depth > _MAX_DEPTH:
        raise _malformed(f"byte {at} of the header")
    end = token.end()
    single, double, number, word, mark = token.groups()
    if single is not None or double is not None:
        return (single if single is not None else double).decode("utf-8", "replace"), end
    if number is not None:
        return int(number), end
    if word is not None:
        return {b"True": True, b"False": False, b"None": None}[word], end
    if mark not in b"([{":
        raise _malformed(f"byte {at} of the header")
    closing = {b"(": b")", b"[": b"]", b"{": b"}"}[mark]
    items: list[_Literal] = []
    fields: dict[str, _Literal] = {}
    comma = True
    while True:
        token = _TOKEN.match(text, end)
        if token and token[5] == closing:
            end = token.end()
            break
        if not comma:
            raise _malformed(f"byte {end} of the header: a comma is missing")
        value, end = _literal(text, end, depth + 1)
        if mark == b"{":
            end = _mark(text, end, b":")
            if not isinstance(value, str) or value in fields:
                raise _malformed("a name is no text, or appears twice")
            fields[value], end = _literal(text, end, depth + 1)
        else:
            items.append(value)
        token = _TOKEN.match(text, end)
        comma = bool(token and token[5] == b",")
        end = token.end() if token and comma else end
    if mark == b"{":
        return fields, end
    return (tuple(items) if mark == b"(" else items), end


def _mark(text: bytes, at: int, mark: bytes) -> int:
    token = _TOKEN.match(text, at)
    if not token or token[5] != mark:
        raise _malformed(f"byte {at} of the header: expected {mark.decode()!r}")
    return token.end()


def _malformed(what: str) -> FormatError:
    return FormatError("npy_malformed", f"not a NumPy header: {clip(what)}")
