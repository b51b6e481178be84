"""Digests of tensors, from chunks of any size."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.errors import Rejected
from muniment.registry.history.tensors import digests


def safetensors(tensors: dict[str, bytes], dtype: str = "U8") -> bytes:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, data in tensors.items():
        header[name] = {"dtype": dtype, "shape": [len(data)], "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(tensors.values())


def in_chunks(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@given(st.dictionaries(st.text('abé"', max_size=3), st.binary(max_size=20), max_size=4), st.integers(1, 64))
def test_chunks_do_not_matter_and_only_what_changed_differs(tensors: dict[str, bytes], size: int) -> None:
    found = digests(iter(in_chunks(safetensors(tensors), size)))
    assert found.keys() == tensors.keys()
    changed = {**tensors, "zz": b"other"}
    again = digests(iter([safetensors(changed)]))
    assert {name for name in again if again[name] != found.get(name)} == {"zz"}


def test_another_type_is_another_tensor() -> None:
    one, other = (digests(iter([safetensors({"a": b"12"}, dtype)])) for dtype in ("U8", "I8"))
    assert one["a"] != other["a"]


@pytest.mark.parametrize("cut", [4, 30, -1])
def test_a_file_that_ends_early_is_refused(cut: int) -> None:
    with pytest.raises(Rejected) as caught:
        digests(iter([safetensors({"a": b"1234"})[:cut]]))
    assert caught.value.code == "safetensors_invalid"
