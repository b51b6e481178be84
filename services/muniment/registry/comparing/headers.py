"""The tensor table of a safetensors file, read from the store by a range.

The checksum validator has held each file against the format before it became a version. Here the table is only read
again, bounded and with its offsets checked, so that no header leads a read out of its file.

Source: the format section of https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from muniment.contracts import strict_json
from muniment.contracts.errors import MunimentError, Rejected
from muniment.ports.blobs import Location, RandomReader

MAX_HEADER: Final = 16 * 1024 * 1024
_DEPTH: Final = 4
_BITS: Final = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8,
    "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a version and where its bytes are."""

    path: str
    sha256: str
    size: int
    location: Location


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a file. `offset` is that of its first byte in the file, `size` in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: StoredFile
    offset: int
    size: int


def read_tensors(reader: RandomReader, file: StoredFile) -> list[Tensor]:
    """The tensors of a file in the order of their bytes, by one or two reads. Blocking.

    Raises `Rejected` (`safetensors_invalid`) for a header that is too long, not understood or lies about its offsets.
    """
    length = int.from_bytes(reader.read(0, 8), "little")
    if not 2 <= length <= min(MAX_HEADER, file.size - 8):
        raise _invalid(file, "the header's length", f"2 to {min(MAX_HEADER, file.size - 8)} B", f"{length} B")
    try:
        table = strict_json.loads(reader.read(8, length), max_bytes=MAX_HEADER, max_depth=_DEPTH)
    except MunimentError as error:
        if error.code.startswith("json_"):
            raise _invalid(file, "the header's text", error.expected or "JSON", error.actual or error.code) from error
        raise
    if not isinstance(table, dict):
        raise _invalid(file, "the header", "a JSON object", type(table).__name__)
    table.pop("__metadata__", None)
    start = 8 + length
    found = sorted((_tensor(name, entry, file, start) for name, entry in table.items()), key=lambda one: one.offset)
    for one, following in pairwise(found):
        if one.offset + one.size > following.offset:
            raise _invalid(
                file, "two tensors' bytes", "each of its own", f"{one.name!r} and {following.name!r} overlap"
            )
    return found


def _tensor(name: str, entry: Any, file: StoredFile, start: int) -> Tensor:
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        bits = _BITS[dtype]
        numbers = [begin, end, *shape]
    except (KeyError, TypeError, ValueError) as error:
        raise _invalid(file, f"tensor {name!r}", "a known dtype, shape and data_offsets", repr(entry)) from error
    if any(type(number) is not int or number < 0 for number in numbers):
        raise _invalid(file, f"tensor {name!r}", "whole numbers from 0", str(numbers))
    if start + end > file.size or (end - begin) * 8 != math.prod(shape) * bits:
        held = f"bytes {begin} to {end} of {file.size - start}"
        raise _invalid(file, f"tensor {name!r}", f"what {dtype} {list(shape)} takes, within the file", held)
    return Tensor(name, dtype, tuple(shape), file, start + begin, end - begin)


def _invalid(file: StoredFile, what: str, expected: str, actual: str) -> Rejected:
    return Rejected(
        "safetensors_invalid",
        f"{file.path}: {what} is not as the format says",
        expected=expected,
        actual=actual,
        hint="compare without the tensors: --no-tensors",
    )
