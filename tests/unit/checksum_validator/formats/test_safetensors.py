"""safetensors against its reference reader, and the ways in which a header can lie."""

from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors import deserialize as _untyped
from safetensors.numpy import save

from muniment.checksum_validator.formats import FormatError, Limits, TensorInfo, read_safetensors_index
from muniment.checksum_validator.formats.safetensors import DTYPE_BITS

from .builders import Reader, blocked, codes, look, safetensors_file, small_safetensors, tensor, unhurried

deserialize: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = _untyped


def test_facts_of_a_file_written_by_the_library() -> None:
    data = save(
        {"w": np.zeros((3, 4), np.float32), "b": np.ones(4, np.float16), "scalar": np.array(1, np.int64)},
        {"format": "np", "note": "höhe"},
    )
    seen = look(data, "w.safetensors", "safetensors")
    assert seen.format == "safetensors"
    assert seen.findings == ()
    assert seen.executable is False
    assert seen.facts["tensors"] == 3
    assert seen.facts["parameters"] == 17
    assert seen.facts["dtypes"] == {"F32": 1, "F16": 1, "I64": 1}
    assert seen.facts["data_bytes"] == 48 + 8 + 8
    assert seen.facts["metadata"] == {"format": "np", "note": "höhe"}
    assert {"name": "w", "dtype": "F32", "shape": [3, 4]} in seen.facts["first_tensors"]  # type: ignore[operator]  # it is a list


def test_four_bit_tensors_must_fill_their_bytes() -> None:
    for end in (1, 2):
        assert blocked(look(safetensors_file({"t": tensor("F4", [3], 0, end)}, bytes(end)))) == ["tensor_size"]


def test_index_is_the_whole_table() -> None:
    arrays = {f"layer.{i}.w": np.full((i + 1, 2), i, np.float32) for i in range(40)}
    data = save(arrays)
    index = read_safetensors_index(Reader(data))
    start = 8 + struct.unpack("<Q", data[:8])[0]
    assert index.keys() == arrays.keys()
    for name, info in index.items():
        assert info.dtype == "F32"
        assert info.shape == arrays[name].shape
        assert data[start + info.begin : start + info.end] == arrays[name].tobytes()


def test_the_tiny_file_costs_one_read() -> None:
    reader = Reader(small_safetensors())
    read_safetensors_index(reader)
    assert reader.reads == 1


@pytest.mark.parametrize("dtype", sorted(DTYPE_BITS))
def test_every_dtype_has_the_size_the_library_gives_it(dtype: str) -> None:
    size = DTYPE_BITS[dtype]  # eight items: as many bytes as an item has bits
    right = safetensors_file({"t": tensor(dtype, [2, 4], 0, size)}, bytes(size))
    assert look(right).ok
    assert len(deserialize(right)) == 1
    wrong = safetensors_file({"t": tensor(dtype, [2, 4], 0, size + 1)}, bytes(size + 1))
    assert blocked(look(wrong)) == ["tensor_size"]
    with pytest.raises(SafetensorError):
        deserialize(wrong)


_BAD_HEADERS: list[tuple[str, bytes, str]] = [
    ("duplicate name", b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', "duplicate_name"),
    ("duplicate name, escaped", b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}', "duplicate_name"),
    ("duplicate metadata", b'{"__metadata__":{"k":"1","k":"2"},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', "duplicate_name"),
    ("two metadata", b'{"__metadata__":{},"__metadata__":{},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', "duplicate_name"),
    ("duplicate member", b'{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', "json_malformed"),
    ("NaN", b'{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,1]}}', "json_malformed"),
    ("float dimension", b'{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}', "json_malformed"),
    ("bool dimension", b'{"a":{"dtype":"U8","shape":[true],"data_offsets":[0,1]}}', "json_malformed"),
    ("negative dimension", b'{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}', "json_malformed"),
    ("leading zero", b'{"a":{"dtype":"U8","shape":[01],"data_offsets":[0,1]}}', "json_malformed"),
    ("member of its own", b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}', "json_malformed"),
    ("member missing", b'{"a":{"dtype":"U8","data_offsets":[0,1]}}', "json_malformed"),
    ("entry no object", b'{"a":[1]}', "json_malformed"),
    ("metadata of numbers", b'{"__metadata__":{"a":1},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', "json_malformed"),
    ("metadata null", b'{"__metadata__":null,"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', "json_malformed"),
    ("unknown dtype", b'{"a":{"dtype":"F128","shape":[1],"data_offsets":[0,1]}}', "unknown_dtype"),
    ("begin after end", b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}', "tensor_size"),
    ("size and shape", b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}', "tensor_size"),
    ("overflow", b'{"a":{"dtype":"U8","shape":[18446744073709551615,18446744073709551615],"data_offsets":[0,1]}}', "shape_overflow"),
    ("overflow to one byte", b'{"a":{"dtype":"U8","shape":[3,12297829382473034411],"data_offsets":[0,1]}}', "shape_overflow"),
    ("hole at the start", b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}', "tensors_hole"),
    ("beyond the end", b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}', "tensors_outside"),
    ("trailing comma", b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},}', "json_malformed"),
    ("no comma", b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"b":{}}', "json_malformed"),
    ("bytes behind", b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}\0\0', "json_malformed"),
    ("white space before", b' {"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', "json_malformed"),
    ("not UTF-8", b'{"a\xff":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', "json_malformed"),
    ("lone surrogate", b'{"a\\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', "json_malformed"),
    ("control character", b'{"a\n":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', "json_malformed"),
    ("wrong escape", b'{"a\\x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', "json_malformed"),
    ("not closed", b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}', "json_malformed"),
    ("deep", b'{"a":' + b"[" * 50_000, "json_malformed"),
]  # fmt: skip


@pytest.mark.parametrize(("header", "code"), [pytest.param(h, c, id=name) for name, h, c in _BAD_HEADERS])
def test_headers_that_lie(header: bytes, code: str) -> None:
    seen = look(safetensors_file(header, b"\0"))
    assert seen.format == "safetensors"
    assert blocked(seen) == [code]


def test_overlap_and_hole_between_tensors() -> None:
    overlap = {"a": tensor("U8", [4], 0, 4), "b": tensor("U8", [4], 2, 6)}
    assert blocked(look(safetensors_file(overlap, bytes(6)))) == ["tensors_overlap"]
    hole = {"a": tensor("U8", [4], 0, 4), "b": tensor("U8", [4], 6, 10)}
    assert blocked(look(safetensors_file(hole, bytes(10)))) == ["tensors_hole"]
    after = {"a": tensor("U8", [4], 0, 4)}
    assert blocked(look(safetensors_file(after, bytes(5)))) == ["tensors_hole"]


@pytest.mark.parametrize(
    ("length", "code"),
    [
        (1 << 63, "header_too_large"),
        ((1 << 64) - 1, "header_too_large"),
        (100_000_001, "header_too_large"),
        (16 * 1024 * 1024 + 1, "header_too_large"),
        (16 * 1024 * 1024, "truncated"),
        (60, "truncated"),
        (1, "truncated"),
    ],
)
def test_lengths_that_lie(length: int, code: str) -> None:
    header = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    seen = look(safetensors_file(header, b"\0", length=length), declared="safetensors")
    assert blocked(seen) == [code]


@given(length=st.integers(1 << 32, (1 << 64) - 1), behind=st.binary(min_size=64, max_size=64))
def test_raw_weights_with_a_brace_in_that_place_are_no_safetensors_file(length: int, behind: bytes) -> None:
    raw = length.to_bytes(8, "little") + b"{" + b"\xc3" + behind
    assert "safetensors" not in look(raw, name="weights.bin").format


def test_limits_count_tensors() -> None:
    header = {str(i): tensor("U8", [1], i, i + 1) for i in range(11)} | {"__metadata__": {"a": "b"}}
    data = safetensors_file(header, bytes(11))
    assert look(data, limits=Limits(tensors=11)).ok
    assert blocked(look(data, limits=Limits(tensors=10))) == ["too_many_tensors"]


def test_metadata_of_any_length_is_read_and_shown_in_part() -> None:
    long = "é\\" * 200_000
    header = {"__metadata__": {"a": long, "b": "short"}, "t": tensor("U8", [1], 0, 1)}
    raw = json.dumps(header, ensure_ascii=False).encode()
    seen = look(safetensors_file(raw, b"\0"))
    assert seen.ok
    assert seen.facts["metadata"]["b"] == "short"  # type: ignore[index,call-overload]  # it is a dict
    assert seen.facts["metadata"]["a"].startswith("é\\é")  # type: ignore[index,call-overload,union-attr]  # it is a dict of texts
    broken = raw.replace(b"short", b"sh\xffrt")
    assert blocked(look(safetensors_file(broken, b"\0"))) == ["json_malformed"]


def test_index_refuses_what_the_inspection_refuses() -> None:
    data = safetensors_file(b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}', b"\0")
    with pytest.raises(FormatError) as refused:
        read_safetensors_index(Reader(data))
    assert refused.value.code == "tensor_size"
    assert refused.value.expected == "2 B"
    assert refused.value.actual == "1 B"


# --- against the reference reader

_NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda name: name != "__metadata__")
_SHAPES = st.lists(st.integers(0, 5), max_size=4)


@st.composite
def _headers(draw: st.DrawFn) -> tuple[dict[str, Any], int]:
    header: dict[str, Any] = {}
    at = 0
    for name in draw(st.lists(_NAMES, unique=True, max_size=6)):
        dtype, shape = draw(st.sampled_from(sorted(DTYPE_BITS))), draw(_SHAPES)
        bits = int(np.prod(shape, dtype=int)) * DTYPE_BITS[dtype]
        if bits % 8 == 0:
            header[name] = tensor(dtype, shape, at, at + bits // 8)
            at += bits // 8
    entries = draw(st.permutations(list(header.items())))
    if draw(st.booleans()):
        entries.append(("__metadata__", draw(st.dictionaries(_NAMES, _NAMES, max_size=3))))
    return dict(entries), at


@unhurried
@given(_headers(), st.booleans(), st.sampled_from([None, 1]))
def test_what_the_library_takes_is_taken_alike(
    made: tuple[dict[str, Any], int], ascii_only: bool, indent: int | None
) -> None:
    header, size = made
    raw = json.dumps(header, ensure_ascii=ascii_only, indent=indent).encode()
    data = safetensors_file(raw, bytes(size))
    assert look(data).ok
    ours = read_safetensors_index(Reader(data))
    theirs = {name: (info["dtype"], tuple(info["shape"]), len(info["data"])) for name, info in deserialize(data)}
    assert {name: (info.dtype, info.shape, info.end - info.begin) for name, info in ours.items()} == theirs


@unhurried
@given(_headers(), st.data())
def test_what_is_taken_the_library_takes(made: tuple[dict[str, Any], int], choose: st.DataObject) -> None:
    """A mutated file may be refused by us alone, never by the library alone."""
    header, size = made
    data = bytearray(safetensors_file(header, bytes(size)))
    for _ in range(choose.draw(st.integers(1, 3))):
        place = choose.draw(st.integers(0, len(data) - 1))
        data[place] = choose.draw(st.sampled_from(b'{}[]",:0123456789-.eE \\un') | st.integers(0, 255))
    seen = look(bytes(data), declared="safetensors")
    if seen.ok:
        assert len(deserialize(bytes(data))) == seen.facts["tensors"]


# --- what a hostile header costs


def test_fifty_thousand_tensors_in_no_order_take_little_memory() -> None:
    count = 50_000
    entries = (f'"t{i}":{{"dtype":"U8","shape":[1],"data_offsets":[{i},{i + 1}]}}' for i in reversed(range(count)))
    data = safetensors_file(("{" + ",".join(entries) + "}").encode(), bytes(count))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        seen = look(data)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert seen.ok
    assert seen.facts["tensors"] == count
    assert peak < 12 * 1024 * 1024


@pytest.mark.parametrize(
    "filler",
    [b"[],", b'{"":', b'"a":"",', b" ", b'"\\u0061', b"1" * 1000],
    ids=["lists", "objects", "texts", "spaces", "escapes", "digits"],
)
def test_a_header_of_rubbish_takes_little_memory(filler: bytes) -> None:
    body = b'{"a":' + filler * (8 * 1024 * 1024 // len(filler))
    data = safetensors_file(body)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        seen = look(data)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert not seen.ok
    assert peak < 16 * 1024 * 1024


def test_metadata_of_a_million_members_is_cut_short() -> None:
    members = b",".join(b'"%d":""' % i for i in range(200_000))
    seen = look(safetensors_file(b'{"__metadata__":{' + members + b"}}"))
    assert blocked(seen) == ["too_much_metadata"]


def test_tensor_info_is_what_its_name_says() -> None:
    index = read_safetensors_index(Reader(small_safetensors()))
    assert index["b"] == TensorInfo(dtype="U8", shape=(3,), begin=16, end=19)
    assert codes(look(small_safetensors())) == []


@pytest.mark.parametrize(
    "start", [b"\x5d\x00\x00", b"\x78\x01", b"\x78\x9c", b"\x1f\x8b\x08", b"\x80\x02", b"\x80\x04."]
)
def test_a_header_length_that_looks_like_another_format_is_none(start: bytes) -> None:
    length = int.from_bytes(start, "little")
    entry = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    seen = look(safetensors_file(entry + b" " * (length - len(entry)), b"\0"), declared="safetensors")
    assert seen.findings == ()
