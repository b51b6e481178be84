"""safetensors: an 8-byte little-endian length, a JSON header, then the tensors' bytes.

The header is walked entry by entry, never parsed whole: a hostile 16 MiB header costs time in proportion to its length
and hardly any memory. Stricter than the reference reader where that one lets two readers see two files: duplicate
names, members it would ignore, white space before the header, `__metadata__: null`.

Source: the format section of https://github.com/huggingface/safetensors and its tensor.rs (dtypes as of 0.8).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from muniment.checksum_validator.formats import json_walk
from muniment.checksum_validator.formats.report import Report, clip
from muniment.checksum_validator.formats.source import Cursor, Source
from muniment.checksum_validator.formats.spans import Names, Spans
from muniment.checksum_validator.formats.spec import DEFAULT_LIMITS, FormatError, Json, Limits, RandomReader

DTYPE_BITS: Final = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8,
    "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
SPEC_HEADER_BYTES: Final = 100_000_000
_MAX_RANK: Final = 64
_MAX_METADATA: Final = 10_000
_SHOWN: Final = 16

_S: Final = rb"[ \t\n\r]*+"
_N: Final = rb"(?:0|[1-9][0-9]{0,19}+)"
# The way all writers spell a tensor; another spelling takes the general path and means the same.
_MEMBER: Final = re.compile(
    rb'S"([^"\\\x00-\x1f]{1,4096}+)"S:S\{S"dtype"S:S"(\w+)"S,S"shape"S:S\[S((?:N(?:S,SN)*+)?)S\]S,'
    rb'S"data_offsets"S:S\[S(N)S,S(N)S\]S\}S([,}])'.replace(b"S", _S).replace(b"N", _N)
)


class TensorInfo(NamedTuple):
    """One tensor: its type, shape, and where its bytes are, counted from the start of the data section."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def recognise(source: Source) -> bool:
    """Whether the file starts as a safetensors file does: a length, then `{`.

    Where the length is a lie, what follows must read as a header's text as well: of raw weights, one file in 256 has
    that one byte in that place, and is no safetensors file for it.
    """
    head = source.head
    start = head[8:72].lstrip(b" \t\n\r")
    if len(head) < 10 or start[:1] != b"{":
        return False
    if int.from_bytes(head[:8], "little") <= source.size - 8:
        return True
    binary = not head[:8].strip().isascii() or min(head[:8]) < 9  # else the whole is JSON or another text
    return binary and not any(byte < 9 or 13 < byte < 32 or byte > 126 for byte in start[:16])


def read(source: Source, limits: Limits, report: Report) -> None:
    """Check the whole header and report facts. Raises `FormatError`."""
    dtypes: Counter[str] = Counter()
    shown: list[Json] = []
    metadata: dict[str, str] = {}
    parameters = 0
    spans = Spans()
    for name, tensor in _entries(source, limits, metadata):
        dtype, shape, begin, end = tensor
        dtypes[dtype] += 1
        parameters += (end - begin) * 8 // DTYPE_BITS[dtype]
        spans.add(begin, end)
        if len(shown) < _SHOWN:
            shown.append({"name": clip(name), "dtype": dtype, "shape": list(shape)})
    header = 8 + int.from_bytes(source.head[:8], "little")
    data = source.size - header
    report.facts |= {
        "tensors": dtypes.total(),
        "parameters": parameters,
        "dtypes": dict(dtypes),
        "data_bytes": data,
        "metadata": {clip(key): value for key, value in metadata.items()},
        "first_tensors": shown,
    }
    if (reached := spans.close(data, holes=False)) != data:
        raise FormatError(
            "tensors_hole",
            "bytes after the last tensor belong to none",
            expected=f"{reached} B of data",
            actual=f"{data} B",
        )


def read_safetensors_index(reader: RandomReader, limits: Limits = DEFAULT_LIMITS) -> dict[str, TensorInfo]:
    """The whole tensor table, name to `TensorInfo`, in the header's order.

    Every rule but the tiling is checked (an inspection does that). Takes about 400 bytes of memory a tensor, at most
    `limits.tensors` of them. Raises `FormatError`, and whatever the reader raises.
    """
    return dict(_entries(Source(reader, limits), limits, {}))


def _entries(source: Source, limits: Limits, metadata: dict[str, str]) -> Iterator[tuple[str, TensorInfo]]:
    """Every tensor of the header; `__metadata__` goes into the given dict, clipped."""
    cursor = Cursor(source, 8, 8 + _header_length(source, limits))
    if cursor.byte() != 0x7B:
        raise json_walk.malformed(cursor, "a header begins with '{'")
    names = Names()
    separator = b","
    if json_walk.upcoming(cursor) == b"}":
        separator = json_walk.expect(cursor, b"}")
    while separator == b",":
        window, at = cursor.window(json_walk.WINDOW)
        if plain := _MEMBER.match(window, at):
            key, dtype, dims, begin, end, separator = plain.groups()
            cursor.skip(plain.end() - at)
            name = _utf8(cursor, key)
            shape = tuple(map(int, dims.split(b","))) if dims else ()
            tensor: TensorInfo | None = TensorInfo(dtype.decode("ascii"), shape, int(begin), int(end))
        else:
            key = json_walk.key(cursor)
            name = _utf8(cursor, key)
            tensor = None if key == b"__metadata__" else _tensor(cursor)
            if tensor is None:
                _metadata(cursor, metadata)
            separator = json_walk.expect(cursor, b",}")
        names.add(key, "duplicate_name")
        if tensor is not None:
            _check(name, tensor)
            if len(names) > limits.tensors:
                raise FormatError("too_many_tensors", "the header names too many tensors", expected=limits.tensors)
            yield name, tensor
    if json_walk.upcoming(cursor):
        raise json_walk.malformed(cursor, "bytes follow the JSON object")


def _header_length(source: Source, limits: Limits) -> int:
    length = int.from_bytes(source.head[:8], "little")
    if length > min(limits.header_bytes, SPEC_HEADER_BYTES):
        raise FormatError(
            "header_too_large", "the header is too large", expected=f"<= {limits.header_bytes} B", actual=f"{length} B"
        )
    if length > source.size - 8 or length < 2:
        raise FormatError(
            "truncated",
            "the header does not fit into the file",
            expected=f"2 to {source.size - 8} B",
            actual=f"{length} B",
        )
    return length


def _tensor(cursor: Cursor) -> TensorInfo:
    """A tensor in another spelling than the usual one: other order of members, escapes."""
    window, at = cursor.window(json_walk.WINDOW)
    stop = window.find(b"}", at, at + json_walk.WINDOW) + 1
    try:
        entry = json_walk.SMALL.decode(window[at : max(stop, at)].decode("utf-8"))
        dtype, shape, (begin, end) = entry.pop("dtype"), entry.pop("shape"), entry.pop("data_offsets")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise json_walk.malformed(cursor, f"an entry is not a tensor: {error}") from error
    numbers = [begin, end, *shape] if isinstance(shape, list) else [None]
    if entry or type(dtype) is not str or any(type(n) is not int or not 0 <= n < 1 << 64 for n in numbers):
        raise json_walk.malformed(cursor, "an entry is a dtype, a shape and data_offsets, and no more")
    cursor.skip(stop - at)
    return TensorInfo(dtype, tuple(shape), begin, end)


def _check(name: str, tensor: TensorInfo) -> None:
    dtype, shape, begin, end = tensor
    size = DTYPE_BITS.get(dtype)
    if size is None:
        raise FormatError("unknown_dtype", f"tensor {clip(name)!r} has a dtype nobody knows", actual=dtype)
    if len(shape) > _MAX_RANK:
        raise FormatError("rank_too_high", f"tensor {clip(name)!r}", expected=f"<= {_MAX_RANK}", actual=len(shape))
    for dimension in shape:
        size *= dimension
        if size >= 1 << 67 or dimension >= 1 << 64:  # 2**64 bytes
            raise FormatError("shape_overflow", f"tensor {clip(name)!r} has more than 2**64 bytes")
    if size % 8 or end - begin != size // 8 or end >= 1 << 64:
        raise FormatError(
            "tensor_size",
            f"tensor {clip(name)!r} does not hold what its shape says",
            expected=f"{size / 8:g} B",
            actual=f"{end - begin} B",
        )


def _metadata(cursor: Cursor, kept: dict[str, str]) -> None:
    json_walk.expect(cursor, b"{")
    if json_walk.upcoming(cursor) == b"}":
        cursor.skip(1)
        return
    names = Names()
    separator = b","
    while separator == b",":
        key = json_walk.key(cursor)
        names.add(key, "duplicate_name")
        if len(names) > _MAX_METADATA:
            raise FormatError("too_much_metadata", "__metadata__ has too many members", expected=_MAX_METADATA)
        value, cut = json_walk.text(cursor)
        if len(kept) < _SHOWN:
            kept[_utf8(cursor, key)] = value.decode("utf-8", "ignore") if cut else _utf8(cursor, value)
        separator = json_walk.expect(cursor, b",}")


def _utf8(cursor: Cursor, raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise json_walk.malformed(cursor, "a text is not UTF-8") from error
