"""GGUF: facts of a valid file, and counts, strings, types and offsets that lie."""

from __future__ import annotations

import struct
import tracemalloc

import pytest

from muniment.checksum_validator.formats import Limits

from .builders import blocked, codes, gguf_file, gguf_pair, gguf_string, gguf_tensor, look, small_gguf


def _header(version: int = 3, tensors: int = 0, pairs: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs)


def test_facts() -> None:
    seen = look(small_gguf(), "model.gguf", "gguf")
    assert seen.format == "gguf"
    assert seen.findings == ()
    assert seen.executable is False
    assert seen.facts == {
        "version": 3,
        "architecture": "llama",
        "name": "tiny",
        "file_type": 7,
        "pairs": 6,
        "tensors": 2,
        "alignment": 32,
        "parameters": 48,
        "types": {"F32": 1, "Q8_0": 1},
        "data_bytes": 128,
    }


def test_version_2_and_another_alignment() -> None:
    pairs = [gguf_pair(b"general.alignment", 4, struct.pack("<I", 64))]
    data = gguf_file(pairs, [gguf_tensor(b"a", [4], 0, 0), gguf_tensor(b"b", [4], 0, 64)], version=2)
    data += bytes(-len(data) % 64) + bytes(64 + 16)
    seen = look(data)
    assert seen.findings == ()
    assert seen.facts["alignment"] == 64


def test_nested_arrays_up_to_the_limit() -> None:
    def nested(depth: int) -> bytes:
        value = struct.pack("<IQ", 0, 1) + b"\7"
        for _ in range(depth - 1):
            value = struct.pack("<IQ", 9, 1) + value
        return gguf_file([gguf_pair(b"a", 9, value)])

    assert look(nested(4)).ok
    assert blocked(look(nested(5))) == ["gguf_nesting"]


HOSTILE = {
    "pairs 2**63": (_header(pairs=1 << 63), "gguf_count"),
    "tensors 2**63": (_header(tensors=1 << 63), "gguf_count"),
    "pairs more than the file can hold": (_header(pairs=100_000) + bytes(100), "gguf_count"),
    "tensors more than the file can hold": (_header(tensors=100_000) + bytes(100), "gguf_count"),
    "pairs above the limit": (_header(pairs=100_001) + bytes(2_000_000), "gguf_count"),
    "tensors above the limit": (_header(tensors=200_001) + bytes(5_000_000), "gguf_count"),
    "string 2**63": (_header(pairs=1) + gguf_pair(b"a", 8, struct.pack("<Q", 1 << 63)), "gguf_string"),
    "string above the limit": (
        _header(pairs=1) + gguf_pair(b"a", 8, struct.pack("<Q", 10_000_001)) + bytes(10_000_001),
        "gguf_string",
    ),
    "key 2**63": (_header(pairs=1) + struct.pack("<Q", 1 << 63) + bytes(64), "gguf_name"),
    "array 2**63": (_header(pairs=1) + gguf_pair(b"a", 9, struct.pack("<IQ", 8, 1 << 63)), "gguf_count"),
    "numbers 2**63": (_header(pairs=1) + gguf_pair(b"a", 9, struct.pack("<IQ", 0, 1 << 63)), "gguf_count"),
    "numbers times width overflow": (
        _header(pairs=1) + gguf_pair(b"a", 9, struct.pack("<IQ", 10, 1 << 61)), "gguf_count"
    ),
    "arrays of arrays 2**63": (_header(pairs=1) + gguf_pair(b"a", 9, struct.pack("<IQ", 9, 1 << 63)), "gguf_count"),
    "array string 2**63": (
        _header(pairs=1) + gguf_pair(b"a", 9, struct.pack("<IQQ", 8, 1, 1 << 63)), "gguf_string"
    ),
    "array string beyond the end": (
        _header(pairs=1) + gguf_pair(b"a", 9, struct.pack("<IQQ", 8, 1, 1000)), "truncated"
    ),
    "items above the limit": (
        _header(pairs=1) + gguf_pair(b"a", 9, struct.pack("<IQ", 8, 1_000_001)) + bytes(8 * 1_000_001), "gguf_count"
    ),
    "type 13": (_header(pairs=1) + gguf_pair(b"a", 13, b"\0"), "gguf_type"),
    "bool 2": (_header(pairs=1) + gguf_pair(b"a", 7, b"\2"), "gguf_bool"),
    "alignment 0": (gguf_file([gguf_pair(b"general.alignment", 4, struct.pack("<I", 0))]), "gguf_alignment"),
    "alignment 24": (gguf_file([gguf_pair(b"general.alignment", 4, struct.pack("<I", 24))]), "gguf_alignment"),
    "alignment as text": (gguf_file([gguf_pair(b"general.alignment", 8, gguf_string(b"32"))]), "gguf_alignment"),
    "one key twice": (gguf_file([gguf_pair(b"a", 7, b"\1"), gguf_pair(b"a", 7, b"\0")]), "gguf_duplicate_key"),
    "one tensor twice": (
        gguf_file([], [gguf_tensor(b"a", [4], 0, 0), gguf_tensor(b"a", [4], 0, 32)], bytes(64)),
        "gguf_duplicate_tensor",
    ),
    "nine dimensions": (gguf_file([], [gguf_tensor(b"a", [1] * 9, 0, 0)], bytes(32)), "gguf_shape"),
    "2**32 dimensions": (_header(tensors=1) + gguf_string(b"a") + b"\xff" * 64, "gguf_shape"),
    "values overflow": (gguf_file([], [gguf_tensor(b"a", [1 << 62, 4], 0, 0)], bytes(32)), "gguf_shape"),
    "values overflow to few": (
        gguf_file([], [gguf_tensor(b"a", [(1 << 64) - 1, (1 << 64) - 1], 0, 0)], bytes(32)), "gguf_shape"
    ),
    "half a block": (gguf_file([], [gguf_tensor(b"a", [16], 8, 0)], bytes(64)), "gguf_shape"),
    "offset not aligned": (gguf_file([], [gguf_tensor(b"a", [4], 0, 8)], bytes(64)), "gguf_offset"),
    "offset beyond the end": (gguf_file([], [gguf_tensor(b"a", [4], 0, 64)], bytes(64)), "tensors_outside"),
    "offset 2**64 - 32": (gguf_file([], [gguf_tensor(b"a", [4], 0, (1 << 64) - 32)], bytes(64)), "tensors_outside"),
    "size beyond the end": (gguf_file([], [gguf_tensor(b"a", [1000], 0, 0)], bytes(64)), "tensors_outside"),
    "one byte missing": (gguf_file([], [gguf_tensor(b"a", [8], 0, 0)], bytes(31)), "tensors_outside"),
    "logical size of exabytes": (gguf_file([], [gguf_tensor(b"a", [1 << 60], 0, 0)], bytes(64)), "tensors_outside"),
    "overlap": (
        gguf_file([], [gguf_tensor(b"a", [16], 0, 0), gguf_tensor(b"b", [4], 0, 32)], bytes(96)), "tensors_overlap"
    ),
    "version 1": (b"GGUF" + struct.pack("<III", 1, 0, 0), "gguf_version"),
    "version 4": (_header(4), "gguf_version"),
    "version 0": (_header(0), "gguf_version"),
    "big endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "gguf_big_endian"),
    "cut off": (b"GGUF\3\0\0\0\1", "truncated"),
    "cut off in the pairs": (small_gguf()[:260], "truncated"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "code"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_lies_is_refused_in_little_memory(data: bytes, code: str) -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        seen = look(data, declared="gguf")
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert blocked(seen) == [code]
    assert peak < 8 * 1024 * 1024


def test_a_type_from_the_future_is_taken_with_a_warning() -> None:
    seen = look(gguf_file([], [gguf_tensor(b"a", [4], 99, 0)], bytes(32)))
    assert seen.ok
    assert codes(seen, "warning") == ["gguf_unknown_type"]
    assert seen.facts["types"] == {"type 99": 1}


def test_bytes_behind_the_tensors_are_told() -> None:
    seen = look(gguf_file([], [gguf_tensor(b"a", [4], 0, 0)], bytes(32 + 1)))
    assert codes(seen) == ["gguf_trailing_bytes"]
    assert look(gguf_file([], [gguf_tensor(b"a", [4], 0, 0)], bytes(16))).findings == ()  # padding may be missing


def test_a_large_vocabulary_is_within_the_limits() -> None:
    tokens = b"".join(gguf_string(b"token %d" % i) for i in range(50_000))
    data = gguf_file([gguf_pair(b"tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 50_000) + tokens)])
    assert look(data).ok
    assert blocked(look(data, limits=Limits(gguf_items=49_999))) == ["gguf_count"]
