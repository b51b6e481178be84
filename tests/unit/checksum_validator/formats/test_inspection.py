"""The inspection as a whole: polyglots, claims, bounded words, a store that fails, and bytes of every sort."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from muniment.checksum_validator.formats import DEFAULT_LIMITS, FORMATS, HEAD_BYTES, TAIL_BYTES, Limits, inspect

from .builders import (
    Reader,
    blocked,
    codes,
    look,
    npy_file,
    onnx_file,
    safetensors_file,
    small_gguf,
    small_safetensors,
    tensor,
    torch_zip,
    unhurried,
    zip_file,
)

VALID = {
    "safetensors": small_safetensors(),
    "gguf": small_gguf(),
    "onnx": onnx_file(),
    "pickle": pickle.dumps({"a": [1, 2]}),
    "torch-zip": torch_zip(pickle.dumps({"a": 1}, 2)),
    "npz": zip_file({"a.npy": npy_file()}),
    "zip": zip_file({"a.txt": b"a"}, deflated=True),
    "keras-zip": zip_file({"config.json": b"{}", "metadata.json": b"{}"}),
    "npy": npy_file(),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "pdf": b"%PDF-1.7\n\xff",
    "json": b'{"a": 1}',
    "text": b"a: 1\n",
    "unknown": b"\x00\x01\x02",
}


@pytest.mark.parametrize("format_", VALID)
def test_every_format_is_told_by_its_content(format_: str) -> None:
    seen = look(VALID[format_], "no-suffix", format_)
    assert seen.format == format_
    assert seen.ok
    assert seen.executable == (format_ in {"pickle", "torch-zip"})


@pytest.mark.parametrize("declared", sorted(FORMATS))
@pytest.mark.parametrize("format_", VALID)
def test_the_declared_format_must_be_the_one_found(format_: str, declared: str) -> None:
    seen = look(VALID[format_], "no-suffix", declared)
    if format_ == declared or (format_, declared) == ("json", "text"):
        assert seen.ok
    else:
        assert blocked(seen) == ["format_mismatch"]
        assert (seen.findings[0].expected, seen.findings[0].actual) == (declared, format_)


def test_names_for_families_and_names_nobody_knows() -> None:
    assert look(VALID["torch-zip"], declared="torch").ok
    assert look(VALID["torch-zip"], declared="pytorch").ok
    assert look(VALID["keras-zip"], declared="keras").ok
    seen = look(VALID["json"], declared="jsn")
    assert blocked(seen) == ["format_not_known"]
    assert "json" in str(seen.findings[0].expected)


@pytest.mark.parametrize(
    ("name", "format_", "severity"),
    [
        ("model.safetensors", "pickle", "blocked"),
        ("weights/model.onnx", "torch-zip", "blocked"),
        ("config.json", "pickle", "blocked"),
        ("model.safetensors", "gguf", "warning"),
        ("model.pt", "safetensors", "warning"),
        ("MODEL.SAFETENSORS", "pickle", "blocked"),
    ],
)
def test_names_that_suggest_another_format(name: str, format_: str, severity: str) -> None:
    seen = look(VALID[format_], name)
    assert "suffix_mismatch" in codes(seen, severity)


@pytest.mark.parametrize("name", ["model.bin", "model", "dir.safetensors/model", "checkpoint.ckpt", ".json.bak"])
def test_names_that_suggest_nothing(name: str) -> None:
    assert "suffix_mismatch" not in codes(look(VALID["pickle"], name))


# --- polyglots

_ZIP = zip_file({"evil.txt": b"x"})


def _safetensors_holding(data: bytes) -> bytes:
    return safetensors_file({"a": tensor("U8", [len(data)], 0, len(data))}, data)


def _with_hdf5() -> bytes:
    data = _safetensors_holding(bytes(600))
    return data[:512] + b"\x89HDF\r\n\x1a\n" + data[520:]


POLYGLOTS = {
    "safetensors and zip": (_safetensors_holding(_ZIP), {"safetensors", "zip"}),
    "safetensors and zip with moved offsets": (_safetensors_holding(bytes(70_000) + _ZIP), {"safetensors", "zip"}),
    "safetensors and zip with a long comment": (
        _safetensors_holding(zip_file({"a": b""}, comment=b"c" * 65_535)), {"safetensors", "zip"}
    ),
    "gguf and zip": (small_gguf() + _ZIP, {"gguf", "zip"}),
    "npy and zip": (npy_file() + _ZIP, {"npy", "zip"}),
    "pickle and zip": (pickle.dumps([1]) + _ZIP, {"pickle", "zip"}),
    "pickle and PDF": (pickle.dumps(["%PDF-1.7"]), {"pickle", "pdf"}),
    "pickle and PDF behind it": (pickle.dumps([1]) + b"%PDF-1.7\n", {"pickle", "pdf"}),
    "PDF and zip": (b"%PDF-1.7\n" + _ZIP, {"pdf", "zip"}),
    "onnx and zip": (onnx_file() + b"\x32" + bytes([len(_ZIP)]) + _ZIP, {"onnx", "zip"}),
    "safetensors and HDF5": (_with_hdf5(), {"safetensors", "hdf5"}),
}  # fmt: skip


@pytest.mark.parametrize(("data", "formats"), POLYGLOTS.values(), ids=POLYGLOTS.keys())
def test_polyglots(data: bytes, formats: set[str]) -> None:
    seen = look(data)
    assert "polyglot" in blocked(seen)
    finding = next(finding for finding in seen.findings if finding.code == "polyglot")
    assert set(str(finding.actual).split(", ")) == formats


def test_a_header_length_can_begin_a_pickle_that_calls() -> None:
    # BINFLOAT takes the zeros and `{"a`; the name goes on as opcodes: GLOBAL needs line feeds, so STACK_GLOBAL.
    name = b"a\x8c\x02os\x8c\x06system\x93)R."
    header = b'{"' + name + b'":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    seen = look((0x470280).to_bytes(8, "little") + header.ljust(0x470280))
    assert "polyglot" in blocked(seen)
    assert seen.executable
    assert seen.facts["globals"] == ["os.system"]


# --- what is said stays small and printable


def test_facts_and_findings_are_bounded_and_printable() -> None:
    names = {f"\u202e\x1b[31m{'😀' * 300}{i}": tensor("U8", [1] * 60, i, i + 1) for i in range(100)}
    header = {"__metadata__": {f"{i}{'é' * 3000}": "\x00" * 3000 for i in range(100)}} | names
    seen = look(safetensors_file(header, bytes(100)))
    assert seen.ok
    text = json.dumps(seen.facts)
    assert len(text) < 16 * 1024
    assert seen.facts["truncated"] is True
    assert seen.facts["tensors"] == 100
    assert not {"\x1b", "\u202e", "\x00"} & set(json.dumps(seen.facts, ensure_ascii=False))
    refused = look(safetensors_file({f"\x1b[31m{'x' * 3000}": {"dtype": "?"}}))
    assert all(len(finding.detail) <= 500 and finding.detail.isprintable() for finding in refused.findings)


def test_numbers_that_json_readers_cannot_hold_become_texts() -> None:
    header = {"a": tensor("U8", [0, (1 << 64) - 1], 0, 0)}
    shape = look(safetensors_file(header)).facts["first_tensors"][0]["shape"]  # type: ignore[index,call-overload]  # a list of dicts
    assert shape == [0, "18446744073709551615"]


# --- how it is read


@pytest.mark.parametrize("format_", VALID)
def test_tiny_files_cost_one_read(format_: str) -> None:
    reader = Reader(VALID[format_])
    inspect(reader, name="model", declared=None)
    assert reader.reads == 1


def test_large_files_cost_head_tail_and_little_more() -> None:
    for data in (
        _safetensors_holding(bytes(3_000_000)),
        npy_file("'<f4'", "(750000,)", bytes(3_000_000)),
        pickle.dumps({"w": bytes(3_000_000)}),
        zip_file({"m/data.pkl": pickle.dumps({}, 2), "m/data/0": bytes(3_000_000)}),
        onnx_file() + b"\x32\x80\x80\x80\x01" + bytes(128 * 128 * 128),
    ):
        reader = Reader(data)
        assert inspect(reader, name="model", declared=None).ok
        assert reader.reads <= 6
        assert reader.bytes_read < HEAD_BYTES + TAIL_BYTES + 256 * 1024


def test_the_budget_of_reads_and_bytes_holds() -> None:
    many = zip_file({f"m/data/{i}": bytes(100_000) for i in range(50)} | {"m/data.pkl": b"N."})
    assert look(many).ok
    for limits in (Limits(reads=20), Limits(read_bytes=300_000)):
        assert blocked(look(many, limits=limits)) == ["inspection_budget"]


class _Broken(Reader):
    """Fails, or answers short, at its nth read."""

    def __init__(self, data: bytes, nth: int, fault: Callable[[bytes], bytes]) -> None:
        super().__init__(data)
        self._nth = nth
        self._fault = fault

    def read(self, offset: int, length: int) -> bytes:
        data = super().read(offset, length)
        return self._fault(data) if self.reads == self._nth else data


def _raise(_: bytes) -> bytes:
    raise ConnectionResetError("the store went away")


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize(
    "fault", [_raise, lambda data: data[:-1], lambda data: data + b"x"], ids=["raises", "short", "long"]
)
def test_a_store_that_fails_is_not_the_file_s_fault(nth: int, fault: Callable[[bytes], bytes]) -> None:
    data = zip_file({f"m/data/{i}": bytes(100_000) for i in range(5)} | {"m/data.pkl": b"N."})
    with pytest.raises(OSError, match=r"store went away|short read"):
        inspect(_Broken(data, nth, fault), name="model", declared=None)


def test_a_reader_of_ours_that_fails_has_not_cleared_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    from muniment.checksum_validator.formats import safetensors

    def fail(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(safetensors, "_check", fail)
    seen = inspect(Reader(small_safetensors()), name="model", declared=None)
    assert blocked(seen) == ["reader_failed"]


# --- anything at all

_SEEDS = [
    *VALID.values(),
    *(data for data, _ in POLYGLOTS.values()),
    zip_file({"x": pickle.dumps([1])}, deflated=True),
]


@unhurried
@given(st.binary(max_size=2000))
@example(b"PK\x05\x06" * 200)
@example(b"GGUF" + b"\xff" * 100)
@example(b"\x08\x08\x3a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")
@example(b"\x80\x04\x95" + b"\xff" * 8)
def test_any_bytes_end_in_an_inspection(data: bytes) -> None:
    look(data)


@unhurried
@given(st.sampled_from(_SEEDS), st.data())
def test_mutated_files_end_in_an_inspection(seed: bytes, choose: st.DataObject) -> None:
    data = bytearray(seed)
    for _ in range(choose.draw(st.integers(1, 6))):
        place = choose.draw(st.integers(0, len(data)))
        kind = choose.draw(st.integers(0, 3))
        piece = choose.draw(
            st.binary(min_size=1, max_size=9) | st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\xff\xff\xff\x7f"])
        )
        if kind == 0:
            data[place : place + len(piece)] = piece
        elif kind == 1:
            data[place:place] = piece
        elif kind == 2:
            del data[place : place + len(piece)]
        else:
            del data[place:]
    look(bytes(data), declared=choose.draw(st.sampled_from([None, *sorted(FORMATS)])))


def test_spliced_files_end_in_an_inspection() -> None:
    chance = random.Random(20261123)
    for _ in range(300):
        one, other = chance.choice(_SEEDS), chance.choice(_SEEDS)
        look(one[: chance.randrange(len(one) + 1)] + other[chance.randrange(len(other) + 1) :])


def test_limits_have_defaults_that_an_operator_can_read() -> None:
    assert DEFAULT_LIMITS.header_bytes == 16 * 1024 * 1024
    assert DEFAULT_LIMITS.archive_members == 10_000
    assert DEFAULT_LIMITS.zip_ratio == 200
    assert DEFAULT_LIMITS.tensors == 200_000


def test_what_blocks_is_said_first_and_of_many_findings_the_first() -> None:
    nested = {f"{i}.bin": zip_file({"x": b""}) for i in range(40)}
    seen = look(zip_file(nested | {"model.pkl": pickle.dumps([1])}, deflated=True))
    assert len(seen.findings) == 32
    assert {finding.severity for finding in seen.findings} == {"blocked"}
    order = [finding.severity for finding in look(pickle.dumps([1]) + b"more").findings]
    assert order == ["blocked", "warning"]


def test_a_finding_carries_what_was_compared_and_what_to_do() -> None:
    finding = look(small_gguf()[:-31]).findings[0]  # 30 bytes of padding and one more
    assert finding.code == "tensors_outside"
    assert finding.expected == "<= 97 B of data"
    assert finding.actual == "98 B"
    assert finding.hint == "the file is cut off, or its header is wrong"
