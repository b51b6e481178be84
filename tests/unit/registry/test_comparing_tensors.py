"""Tensors side by side: the figures against slow ones, the matching over files, the bounds."""

from __future__ import annotations

import json
import math
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.adapters.memory import MemoryBlobStore
from muniment.contracts.errors import MunimentError, Rejected
from muniment.registry.comparing import streams
from muniment.registry.comparing.headers import StoredFile, read_tensors
from muniment.registry.comparing.tensors import Compared, compare_tensors

from .safetensors_files import Given, framed, safetensors, stored

FORMATS = {
    "BOOL": "B", "U8": "B", "U16": "H", "U32": "I", "U64": "Q", "I8": "b", "I16": "h", "I32": "i", "I64": "q",
    "F16": "e", "BF16": "f", "F32": "f", "F64": "d",
}  # fmt: skip
WIDTHS = {dtype: 2 if dtype == "BF16" else struct.calcsize("<" + code) for dtype, code in FORMATS.items()}


def compared(
    old: dict[str, bytes], new: dict[str, bytes], blobs: MemoryBlobStore | None = None, **how: Any
) -> Compared:
    blobs = blobs or MemoryBlobStore()
    sides = stored(blobs, old), stored(blobs, new)
    return compare_tensors(blobs, *sides, **{"max_bytes": 1 << 30, "cancel": threading.Event(), **how})


def one(old: Given, new: Given, **how: Any) -> dict[str, Any]:
    (row,) = compared({"m": safetensors({"w": old})}, {"m": safetensors({"w": new, "b": old})}, **how).rows[1:]
    return json.loads(json.dumps(row.fields(), allow_nan=False))


def numbers(dtype: str, raw: bytes) -> list[float]:
    """Element by element, without NumPy."""
    if dtype == "BF16":
        raw = b"".join(b"\0\0" + raw[at : at + 2] for at in range(0, len(raw), 2))
    code = FORMATS[dtype]
    return [value for (value,) in struct.iter_unpack("<" + code, raw)]


def norm(values: list[Any]) -> float:
    return math.sqrt(math.fsum(float(value) * float(value) for value in values))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, bytes, bytes]:
    """A dtype, and the bytes of two tensors that agree in some places."""
    dtype = draw(st.sampled_from(sorted(FORMATS)))
    width = WIDTHS[dtype]
    element = st.binary(min_size=width, max_size=width)
    if dtype in {"F32", "F64"}:  # of bytes alone, most would be out of the ordinary
        limits: dict[str, Any] = {"allow_nan": False, "min_value": -1e6, "max_value": 1e6, "width": width * 8}
        element = st.one_of(element, st.floats(**limits).map(lambda value: struct.pack("<" + FORMATS[dtype], value)))
    both = draw(st.lists(st.one_of(element.map(lambda raw: (raw, raw)), st.tuples(element, element)), max_size=30))
    return dtype, b"".join(old for old, _ in both), b"".join(new for _, new in both)


@given(pairs(), st.sampled_from([1, 8, 24, 1 << 20]), st.sampled_from([7, 1 << 20]))
def test_each_figure_is_what_a_slow_computation_says(given: tuple[str, bytes, bytes], piece: int, stretch: int) -> None:
    dtype, old, new = given
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "_STRETCH", stretch)
        shape = [len(old) // WIDTHS[dtype]]
        row = one((dtype, shape, old), (dtype, shape, new), piece=piece)
    figures = [row[name] for name in ("change_norm", "relative_change", "cosine", "max_change")]
    if old == new:
        assert (row["status"], figures, row["flags"]) == ("unchanged", [None] * 4, [])
        return
    assert row["status"] == "changed"
    before, after = numbers(dtype, old), numbers(dtype, new)
    odd = [not all(map(math.isfinite, values)) for values in (before, after)]
    if any(odd):
        names = ["from_not_finite", "to_not_finite"]
        assert row["flags"] == [name for name, found in zip(names, odd, strict=True) if found]
        assert figures == [None] * 4
        return
    if max(map(abs, before + after)) > 1e150:
        return  # the next test
    changes = [abs(b - a) for a, b in zip(before, after, strict=True)]
    lengths = norm(before), norm(after)
    product = math.fsum(float(a) * float(b) for a, b in zip(before, after, strict=True))
    assert row["change_norm"] == pytest.approx(norm(changes), rel=1e-9, abs=1e-150)
    assert row["max_change"] == pytest.approx(float(max(changes)), rel=1e-9)
    if min(lengths) > 1e-100:
        assert row["relative_change"] == pytest.approx(norm(changes) / lengths[0], rel=1e-9)
        assert row["cosine"] == pytest.approx(product / lengths[0] / lengths[1], rel=1e-9, abs=1e-9)
    elif lengths[0] == 0:
        assert (row["relative_change"], row["cosine"]) == (None, None)


def test_sums_beyond_a_float_are_flagged_and_no_infinity() -> None:
    row = one(("F64", [1], struct.pack("<d", 1e300)), ("F64", [1], struct.pack("<d", -1e300)))
    assert row["flags"] == ["beyond_float"]
    assert (row["change_norm"], row["cosine"], row["max_change"]) == (None, None, 2e300)


@pytest.mark.parametrize(
    ("code", "dtype", "low", "high"), [("q", "I64", -(2**63), 2**63 - 1), ("Q", "U64", 0, 2**64 - 1)]
)
def test_neighbours_among_large_integers_are_one_apart(code: str, dtype: str, low: int, high: int) -> None:
    def tensor(value: int) -> Given:
        return dtype, [1], struct.pack("<" + code, value)

    assert one(tensor(2**60), tensor(2**60 + 1))["max_change"] == 1.0
    assert one(tensor(low), tensor(high))["max_change"] == float(high - low)


def test_another_dtype_is_compared_by_value_and_another_shape_is_not() -> None:
    row = one(("F32", [2], struct.pack("<2f", 1.0, 2.0)), ("BF16", [2], b"\x80\x3f\x40\x40"))
    assert (row["status"], row["flags"], row["change_norm"]) == ("changed", ["dtype_changed"], 1.0)
    assert (row["from"]["dtype"], row["to"]["dtype"]) == ("F32", "BF16")
    row = one(("U8", [4], b"1234"), ("U8", [2, 2], b"1234"))
    assert (row["status"], row["flags"], row["change_norm"]) == ("changed", ["shape_changed"], None)


@pytest.mark.parametrize(("new", "status"), [(b"1234", "unchanged"), (b"1235", "changed")])
def test_a_dtype_that_is_no_plain_number_is_compared_by_its_bytes(new: bytes, status: str) -> None:
    row = one(("F8_E4M3", [4], b"1234"), ("F8_E4M3", [4], new), piece=1)
    assert (row["status"], row["flags"], row["max_change"]) == (status, ["bytes_only"], None)


names = st.sampled_from(["a", "b", "c", "d"])


@given(
    st.dictionaries(names, st.binary(min_size=2, max_size=2)),
    st.dictionaries(names, st.binary(min_size=2, max_size=2)),
    st.randoms(),
)
def test_how_tensors_are_spread_over_files_makes_no_difference(old: Any, new: Any, random: Any) -> None:
    def spread(values: dict[str, bytes]) -> dict[str, bytes]:
        files: dict[str, dict[str, Given]] = {"1.safetensors": {}, "2.safetensors": {}, "3.safetensors": {}}
        for name, raw in values.items():
            files[random.choice(sorted(files))][name] = ("U8", [2], raw)
        return {path: safetensors(tensors) for path, tensors in files.items()}

    rows = compared(spread(old), spread(new), with_same=True).rows
    expected = dict.fromkeys(new.keys() - old.keys(), "added") | dict.fromkeys(old.keys() - new.keys(), "removed")
    expected |= {name: "unchanged" if old[name] == new[name] else "changed" for name in old.keys() & new.keys()}
    assert {row.name: row.status for row in rows} == expected
    assert len(rows) == len(expected)


def test_a_name_in_two_files_is_matched_by_the_path() -> None:
    def part(value: bytes, other: str) -> bytes:
        return safetensors({"w": ("U8", [1], value), other: ("U8", [1], b"0")})

    old = {"text/m": part(b"1", "x"), "unet/m": part(b"2", "x")}
    new = {"text/m": part(b"1", "y"), "unet/m": part(b"3", "y")}
    found = [(row.old and row.old.file.path, row.status) for row in compared(old, new).rows if row.name == "w"]
    assert found == [("text/m", "unchanged"), ("unet/m", "changed")]


class Watched(MemoryBlobStore):
    """Counts what is asked for, and keeps which threads read which object."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.threads: dict[str, set[int]] = {}

    @contextmanager
    def open(self, location: Any, **named: Any) -> Iterator[Any]:
        self.asked += 1
        seen = self.threads.setdefault(location.version_id, set())
        with super().open(location, **named) as reader:
            yield Chunks(reader, seen)


class Chunks:
    def __init__(self, reader: Any, seen: set[int]) -> None:
        self._reader, self._seen = reader, seen

    def read_chunks(self) -> Iterator[bytes]:
        for chunk in self._reader.read_chunks(3):
            self._seen.add(threading.get_ident())
            yield chunk


def test_each_side_is_read_by_one_thread() -> None:
    blobs = Watched()
    old, new = (safetensors({"w": ("U8", [3000], bytes([value]) * 3000)}) for value in (1, 2))
    (row,) = compared({"m": old}, {"m": new}, blobs, piece=7).rows
    assert row.figures.max_change == 1.0
    assert [len(threads) for threads in blobs.threads.values()] == [1, 1]


def test_files_with_one_digest_are_not_read_and_many_small_tensors_take_few_requests() -> None:
    base = safetensors({"base": ("U8", [3], b"abc")})
    old = {f"t{n}": ("U8", [2], bytes([n, 0])) for n in range(200)}
    new = {f"t{n}": ("U8", [2], bytes([n, 1])) for n in range(200)}
    blobs = Watched()
    found = compared({"a": base, "m": safetensors(old)}, {"b": base, "m": safetensors(new)}, blobs)
    assert (found.same_files, len(found.rows), found.bytes_read) == (1, 200, 800)
    assert blobs.asked == 2
    with pytest.raises(MunimentError) as refused:
        compared({"m": safetensors(old)}, {"m": safetensors(new)}, max_bytes=799)
    assert (refused.value.code, refused.value.http_status) == ("compare_too_large", 413)


def test_a_file_that_is_gone_and_a_comparison_that_was_given_up() -> None:
    blobs = MemoryBlobStore()
    (old,), (new,) = (stored(blobs, {"m": safetensors({"w": ("U8", [1], raw)})}) for raw in (b"1", b"2"))
    stop = threading.Event()
    stop.set()
    with pytest.raises(MunimentError) as given_up:
        compare_tensors(blobs, [old], [new], max_bytes=100, cancel=stop)
    assert given_up.value.code == "read_cancelled"
    empty = MemoryBlobStore()
    stored(empty, {})
    with pytest.raises(Rejected) as gone:
        compare_tensors(empty, [old], [new], max_bytes=100, cancel=threading.Event())
    assert (gone.value.code, gone.value.hint) == ("bytes_missing", "compare without the tensors: --no-tensors")


def entry(**fields: Any) -> bytes:
    return json.dumps({"w": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2], **fields}}).encode()


OVERLAP = b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\2\0\0\0\0\0\0\0",
        (1 << 60).to_bytes(8, "little") + b"{}",
        framed(b"[]"),
        framed(b"{nope}"),
        framed(b'{"w":1}'),
        framed(b'{"w":{},"w":{}}'),
        framed(b"[" * 100 + b"]" * 100),
        framed(entry(dtype="F9"), b"ab"),
        framed(entry(dtype=["U8"]), b"ab"),
        framed(entry(shape=[3]), b"ab"),
        framed(entry(shape=[-2]), b"ab"),
        framed(entry(shape=[2.0]), b"ab"),
        framed(entry(shape=[True, 2]), b"ab"),
        framed(entry(shape="ab"), b"ab"),
        framed(entry(data_offsets=[0, 3]), b"ab"),
        framed(entry(data_offsets=[1, 3]), b"ab"),
        framed(entry(data_offsets=[-2, 0]), b"ab"),
        framed(entry(data_offsets=[0]), b"ab"),
        framed(OVERLAP, b"abc"),
    ],
)
def test_a_header_that_lies_is_refused(data: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        compared({"m": data}, {})
    assert refused.value.code == "safetensors_invalid"
    assert refused.value.hint == "compare without the tensors: --no-tensors"


@given(st.one_of(st.binary(max_size=60), st.binary(max_size=40).map(framed)))
def test_no_bytes_are_read_as_a_table_that_leaves_the_file(data: bytes) -> None:
    blobs = MemoryBlobStore()
    (file,) = stored(blobs, {"m": data})
    try:
        tensors = read_tensors(blobs.random_reader(file.location, size=file.size), file)
    except Rejected as error:
        assert error.code == "safetensors_invalid"
    else:
        assert all(tensor.offset + tensor.size <= len(data) for tensor in tensors)


def test_the_table_is_in_the_order_of_the_bytes() -> None:
    blobs = MemoryBlobStore()
    raw = b'{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    (file,) = stored(blobs, {"m": framed(raw, b"xy")})
    tensors = read_tensors(blobs.random_reader(file.location, size=file.size), file)
    assert isinstance(file, StoredFile)
    assert [(tensor.name, tensor.offset) for tensor in tensors] == [("a", 8 + len(raw)), ("b", 9 + len(raw))]
