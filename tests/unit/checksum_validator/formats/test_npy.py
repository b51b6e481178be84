"""NumPy's array files: against NumPy, and headers that lie."""

from __future__ import annotations

import io
import os
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from .builders import blocked, codes, look, npy_file, unhurried


def _save(array: np.ndarray[Any, Any], version: tuple[int, int] | None = None) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version)
    return out.getvalue()


@unhurried
@given(
    hnp.arrays(
        hnp.array_dtypes() | hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    )
)
def test_what_numpy_writes_is_taken(array: np.ndarray[Any, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # version 3.0 is announced for names beyond latin-1
        data = _save(array)
    seen = look(data, "a.npy", "npy")
    assert seen.format == "npy"
    assert seen.findings == ()
    assert seen.facts["shape"] == list(array.shape)
    assert not seen.executable


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version(version: tuple[int, int]) -> None:
    assert look(_save(np.arange(6.0).reshape(2, 3), version)).ok


def test_objects_are_a_pickle() -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, ("true",)

    seen = look(_save(np.array([1, "x", None], dtype=object)))
    assert seen.executable
    assert codes(seen) == ["executable_format"]
    assert blocked(look(_save(np.array([Evil()], dtype=object)))) == ["pickle_global_not_allowed"]
    hidden = npy_file("[('a', '<f4'), ('b', [('c', '|O')])]", "(1,)", b"cos\nsystem\n)R.")
    assert blocked(look(hidden)) == ["pickle_global_not_allowed"]


_NAMED = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)"


def _raw(header: str) -> bytes:
    text = header.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64)


BAD = {
    "no dict": (_raw("[1, 2]"), "npy_malformed"),
    "a call": (_raw("__import__('os')"), "npy_malformed"),
    "another key": (_raw(_NAMED + ", 'x': 1}"), "npy_malformed"),
    "a key missing": (_raw("{'descr': '<f4', 'shape': (1,)}"), "npy_malformed"),
    "a key twice": (_raw(_NAMED + ", 'shape': (2,)}"), "npy_malformed"),
    "unknown dtype": (npy_file("'<q9'"), "npy_malformed"),
    "dtype a number": (npy_file("5"), "npy_malformed"),
    "dtype an empty list": (npy_file("[]"), "npy_malformed"),
    "field of one": (npy_file("[('a',)]"), "npy_malformed"),
    "negative dimension": (npy_file(shape="(-1,)"), "npy_malformed"),
    "dimension a bool": (npy_file(shape="(True,)"), "npy_malformed"),
    "shape a list": (npy_file(shape="[1]"), "npy_malformed"),
    "too many dimensions": (npy_file(shape="(" + "1," * 65 + ")"), "npy_malformed"),
    "bytes behind the dict": (_raw(_NAMED + "} evil"), "npy_malformed"),
    "two dicts": (_raw(_NAMED + "}{}"), "npy_malformed"),
    "no comma": (_raw("{'descr': '<f4' 'fortran_order': False, 'shape': (1,)}"), "npy_malformed"),
    "deep": (_raw("[" * 1000), "npy_malformed"),
    "deep dtype": (npy_file("[('a', " * 20 + "'<f4'" + ")]" * 20), "npy_malformed"),
    "larger than the file": (npy_file(shape="(5, 2)"), "truncated"),
    "shape overflow": (npy_file(shape="(9223372036854775807, 9223372036854775807)"), "shape_overflow"),
    "version 9": (b"\x93NUMPY\x09\x00" + bytes(100), "npy_version"),
    "header of 4 GB": (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100), "header_too_large"),
    "header beyond the end": (b"\x93NUMPY\x01\x00\xff\x00" + bytes(100), "truncated"),
    "only the magic": (b"\x93NUMPY", "truncated"),
}


@pytest.mark.parametrize(("data", "code"), BAD.values(), ids=BAD.keys())
def test_headers_that_lie(data: bytes, code: str) -> None:
    seen = look(data, declared="npy")
    assert seen.format == "npy"
    assert blocked(seen) == [code]


def test_bytes_behind_the_array_are_told() -> None:
    seen = look(npy_file() + b"more")
    assert seen.ok
    assert codes(seen) == ["npy_trailing_bytes"]


@unhurried
@given(st.text("{}()[],:'\"0123456789 TrueFalsNon<f4descrhapt_", max_size=200))
def test_any_header_is_refused_or_taken(header: str) -> None:
    seen = look(_raw(header))
    assert seen.format == "npy"
