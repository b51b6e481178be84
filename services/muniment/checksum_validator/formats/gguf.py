"""GGUF: counts, key-value pairs, tensor table, aligned data. Versions 2 and 3, little endian.

No count is looped over before the bytes that it needs at least are known to be there, and no declared size is
allocated, so a 43-byte file that declares 2**63 items is refused as fast as any other.

Source: docs/gguf.md of https://github.com/ggml-org/ggml.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import Final

from muniment.checksum_validator.formats.gguf_types import BLOCKS, Block
from muniment.checksum_validator.formats.report import Report, clip
from muniment.checksum_validator.formats.source import Cursor, Source
from muniment.checksum_validator.formats.spans import Names, Spans
from muniment.checksum_validator.formats.spec import FormatError, Limits

MAGIC: Final = b"GGUF"
_LENGTH: Final = struct.Struct("<Q")
_DEFAULT_ALIGNMENT: Final = 32
_MAX_ALIGNMENT: Final = 1024 * 1024
_MAX_NAME: Final = 65_535
_STRING: Final = 8
_ARRAY: Final = 9
_BOOL: Final = 7
_WIDTHS: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, _BOOL: 1, 10: 8, 11: 8, 12: 8}
_INTEGERS: Final = frozenset({0, 2, 4, 10})

_SHOWN: Final = {
    b"general.architecture": "architecture",
    b"general.name": "name",
    b"general.type": "type",
    b"general.basename": "basename",
    b"general.size_label": "size_label",
    b"general.license": "license",
    b"general.file_type": "file_type",
    b"general.quantization_version": "quantization_version",
    b"tokenizer.ggml.model": "tokenizer",
    b"split.count": "split_count",
    b"split.no": "split_number",
}


def recognise(source: Source) -> bool:
    """Whether the file begins with the magic."""
    return source.head.startswith(MAGIC)


def read(source: Source, limits: Limits, report: Report) -> None:
    """Check header, pairs and tensor table, and report facts. Raises `FormatError`."""
    cursor = Cursor(source, 4, source.size)
    version = cursor.unsigned(4)
    report.facts["version"] = version
    if version & 0xFFFF == 0 and version:
        raise FormatError("gguf_big_endian", "big-endian GGUF is not taken", expected="little endian")
    if version not in {2, 3}:
        raise FormatError("gguf_version", "this version of GGUF is not taken", expected="2 or 3", actual=version)
    tensors, pairs = cursor.unsigned(8), cursor.unsigned(8)
    _count(cursor, "key-value pairs", pairs, limits.gguf_pairs, least=13)
    _count(cursor, "tensors", tensors, limits.tensors, least=24)
    alignment = _Pairs(cursor, limits, report).read(pairs)
    report.facts |= {"pairs": pairs, "tensors": tensors, "alignment": alignment}
    _read_tensors(cursor, limits, report, tensors, alignment)


class _Pairs:
    """The metadata: what is shown is kept, everything else is passed over."""

    def __init__(self, cursor: Cursor, limits: Limits, report: Report) -> None:
        self._cursor = cursor
        self._limits = limits
        self._facts = report.facts
        self._items = limits.gguf_items

    def read(self, count: int) -> int:
        """Walk the pairs; returns the alignment of tensor data in bytes."""
        names = Names()
        alignment = _DEFAULT_ALIGNMENT
        for _ in range(count):
            key = _name(self._cursor)
            names.add(key, "gguf_duplicate_key")
            kind = self._cursor.unsigned(4)
            if key == b"general.alignment":
                alignment = self._alignment(kind)
            elif (shown := _SHOWN.get(key)) and kind == _STRING:
                self._facts[shown] = self._text()
            elif shown and kind in _INTEGERS:
                self._facts[shown] = self._cursor.unsigned(_WIDTHS[kind])
            else:
                self._skip(kind, depth=1)
        return alignment

    def _alignment(self, kind: int) -> int:
        value = self._cursor.unsigned(4) if kind == 4 else 0
        if value < 8 or value > _MAX_ALIGNMENT or value & (value - 1):
            raise FormatError(
                "gguf_alignment",
                "general.alignment is not usable",
                expected=f"a uint32 power of two from 8 to {_MAX_ALIGNMENT}",
                actual=f"{value} of type {kind}",
            )
        return value

    def _text(self) -> str:
        length = self._length()
        kept = self._cursor.take(min(length, 1024))
        self._cursor.skip(length - len(kept))
        return clip(kept.decode("utf-8", "replace"))

    def _length(self) -> int:
        length = self._cursor.unsigned(8)
        if length > self._limits.gguf_string_bytes or length > self._cursor.remaining:
            most = min(self._limits.gguf_string_bytes, self._cursor.remaining)
            raise FormatError("gguf_string", "a string is too long", expected=f"<= {most} B", actual=f"{length} B")
        return length

    def _skip(self, kind: int, depth: int) -> None:
        """Pass over a value of this type."""
        cursor = self._cursor
        if kind == _BOOL:
            if cursor.byte() > 1:
                raise FormatError("gguf_bool", "a bool is neither 0 nor 1", actual=f"byte {cursor.position - 1}")
        elif width := _WIDTHS.get(kind):
            cursor.skip(width)
        elif kind == _STRING:
            cursor.skip(self._length())
        elif kind == _ARRAY:
            self._skip_array(depth)
        else:
            raise FormatError("gguf_type", "a value has a type that does not exist", expected="0 to 12", actual=kind)

    def _skip_array(self, depth: int) -> None:
        cursor = self._cursor
        if depth > self._limits.gguf_nesting:
            raise FormatError("gguf_nesting", "arrays are nested too deeply", expected=self._limits.gguf_nesting)
        kind, count = cursor.unsigned(4), cursor.unsigned(8)
        if width := _WIDTHS.get(kind):
            _count(cursor, "array items", count, cursor.remaining, least=width)
            cursor.skip(count * width)
            return
        _count(cursor, "array items", count, self._items, least=8 if kind == _STRING else 12)
        self._items -= count
        if kind == _STRING:
            self._skip_strings(count)
        else:
            for _ in range(count):
                self._skip(kind, depth + 1)

    def _skip_strings(self, count: int) -> None:
        """A vocabulary has hundreds of thousands of them: their lengths are read where they lie in the buffer."""
        cursor, most = self._cursor, self._limits.gguf_string_bytes
        while count:
            window, start = cursor.window(65_536)
            at, last = start, len(window) - 8
            while count and at <= last:
                length = _LENGTH.unpack_from(window, at)[0]
                if length > most:
                    raise FormatError("gguf_string", "a string is too long", expected=f"<= {most} B", actual=length)
                at += 8 + length
                count -= 1
            if at == start:
                cursor.take(8)  # says that the file ends here
            cursor.skip(at - start)


def _read_tensors(cursor: Cursor, limits: Limits, report: Report, count: int, alignment: int) -> None:
    names, spans = Names(), Spans()
    types: Counter[str] = Counter()
    parameters = furthest = 0
    for _ in range(count):
        name = _name(cursor)
        names.add(name, "gguf_duplicate_tensor")
        label = clip(name.decode("utf-8", "replace"))
        items, row = _shape(cursor, limits, label)
        kind, offset = cursor.unsigned(4), cursor.unsigned(8)
        if offset % alignment:
            raise FormatError(
                "gguf_offset", f"tensor {label!r} is not aligned", expected=f"a multiple of {alignment}", actual=offset
            )
        block = BLOCKS.get(kind)
        if block is None:
            types[f"type {kind}"] += 1
            block = Block("", 1, 0)
        else:
            types[block.name] += 1
        if row % block.items:
            raise FormatError(
                "gguf_shape",
                f"tensor {label!r} does not fill its blocks",
                expected=f"a multiple of {block.items}",
                actual=row,
            )
        parameters += items
        size = items // block.items * block.size
        # A span ends where the next may begin: padding belongs to the tensor before it.
        spans.add(offset, min(offset + size + -size % alignment, (1 << 64) - 1))
        furthest = max(furthest, offset + size)
    start = cursor.position + -cursor.position % alignment
    data = max(0, cursor.end - start)
    report.facts |= {"parameters": parameters, "types": dict(types), "data_bytes": data}
    if strangers := sorted(name for name in types if name.startswith("type ")):
        report.warn("gguf_unknown_type", f"tensors of types we cannot size: {', '.join(strangers[:8])}")
    if furthest > data:
        raise FormatError(
            "tensors_outside",
            "the tensors reach beyond the end of the file",
            expected=f"<= {data} B of data",
            actual=f"{furthest} B",
            hint="the file is cut off, or its header is wrong",
        )
    reached = spans.close(data + alignment, holes=True)  # the padding of the last tensor may be missing
    if reached < data and not strangers:
        report.warn("gguf_trailing_bytes", f"{data - reached} B follow the last tensor and belong to none")


def _shape(cursor: Cursor, limits: Limits, label: str) -> tuple[int, int]:
    """The number of values, and how many of them are in a row."""
    dimensions = cursor.unsigned(4)
    if dimensions > limits.gguf_dimensions:
        raise FormatError(
            "gguf_shape",
            f"tensor {label!r} has too many dimensions",
            expected=f"<= {limits.gguf_dimensions}",
            actual=dimensions,
        )
    shape = [cursor.unsigned(8) for _ in range(dimensions)]
    items = 1
    for dimension in shape:
        items *= dimension
        if items >= 1 << 63 or dimension >= 1 << 63:
            raise FormatError("gguf_shape", f"tensor {label!r} has more than 2**63 values")
    return items, shape[0] if shape else 1


def _name(cursor: Cursor) -> bytes:
    length = cursor.unsigned(8)
    if length > min(_MAX_NAME, cursor.remaining) or not length:
        raise FormatError(
            "gguf_name", "a name is empty or too long", expected=f"1 to {_MAX_NAME} B", actual=f"{length} B"
        )
    return cursor.take(length)


def _count(cursor: Cursor, what: str, count: int, limit: int, *, least: int) -> None:
    """Refuse a count before looping over it: above the limit, or more than the rest of the file can hold."""
    if count > limit or count * least > cursor.remaining:
        raise FormatError(
            "gguf_count",
            f"the file declares too many {what}",
            expected=f"<= {min(limit, cursor.remaining // least)}",
            actual=count,
        )
