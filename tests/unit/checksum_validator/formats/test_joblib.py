"""joblib: arrays between the opcodes are passed over exactly, and hide nothing; compressed files are looked into."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zlib
from typing import Any

import joblib  # type: ignore[import-untyped]  # reason: joblib ships no types
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from muniment.checksum_validator.formats import Limits

from .builders import blocked, codes, look


def _dump(thing: object, compress: Any = 0) -> bytes:
    out = io.BytesIO()
    joblib.dump(thing, out, compress=compress)
    return out.getvalue()


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


THINGS = {
    "numbers": {"w": np.arange(1000.0), "b": np.float32(1)},
    "shapes": [np.zeros((3, 0)), np.array(5.0), np.zeros((2, 3, 4), order="F")],
    "texts": np.array(["abc", "é"]),
    "dates": np.array(["2026-01-01"], dtype="M8[D]"),
    "records": np.zeros(3, dtype=[("a", "<f4"), ("b", "S5"), ("c", "<i8", (2,))]),
    "objects": {"first": np.array(["x", None, {}], dtype=object), "then": np.arange(5)},
    "records of objects": np.array([(1, "x")], dtype=[("a", "f4"), ("b", "O")]),
}


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)], ids=str)
@pytest.mark.parametrize("thing", THINGS.values(), ids=THINGS.keys())
def test_arrays_of_every_kind(thing: object, compress: Any) -> None:
    seen = look(_dump(thing, compress), "data.joblib", "joblib")
    assert seen.format == "joblib"
    assert seen.executable
    assert codes(seen) == ["executable_format"]


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        RandomForestClassifier(n_estimators=3),
        HistGradientBoostingClassifier(max_iter=3),
        KNeighborsClassifier(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_fitted_estimators_pass(model: Any) -> None:
    random = np.random.default_rng(0)
    data = random.random((60, 3))
    model.fit(data, np.where(data[:, 0] > 0.5, "yes", "no"))
    for dumped in (_dump(model), _dump(model, 3), pickle.dumps(model)):
        assert codes(look(dumped)) == ["executable_format"]


@pytest.mark.parametrize("compress", [0, 3, ("bz2", 3)], ids=str)
def test_a_call_behind_an_array_is_seen(compress: Any) -> None:
    seen = look(_dump([np.arange(1000.0), _Evil()], compress))
    assert blocked(seen) == ["pickle_global_not_allowed"]
    assert seen.facts["arrays"] == 1


def test_a_call_in_an_array_of_objects_is_seen() -> None:
    assert blocked(look(_dump(np.array([_Evil()], dtype=object)))) == ["pickle_global_not_allowed"]


def test_bytes_that_only_joblib_would_pass_over_must_end_other_loaders() -> None:
    """Where joblib reads an array, `pickle.load` would read opcodes: the padding in between is no opcode."""
    data = _dump(np.frombuffer(b"cos\nsystem\n(S'true'\ntR.", dtype=np.uint8))
    assert look(data).ok
    array = data.index(b"cos\nsystem")
    padding = len(data[:array]) - len(data[:array].rstrip(b"\xff"))
    start = array - padding - 1
    assert data[start] == padding
    opened = data[:start] + b"N" + data[start + 1 :]  # NONE instead: another loader goes on behind it
    assert blocked(look(opened)) == ["joblib_array"]


def test_an_array_inside_a_frame_is_refused() -> None:
    """joblib reads arrays from behind the frame, opcodes from within it: both would be there."""
    data = _dump(np.zeros(100, dtype=np.uint8))
    assert data[2:3] == b"\x95"
    longer = data[:3] + struct.pack("<Q", struct.unpack("<Q", data[3:11])[0] + 20) + data[11:]
    assert blocked(look(longer)) == ["joblib_array"]


def test_arrays_without_padding_are_refused() -> None:
    data = _dump(np.arange(10)).replace(b"numpy_array_alignment_bytes", b"numpy_array_alignment_bytez")
    seen = look(data)
    assert blocked(seen) == ["joblib_array"]


def test_an_array_that_is_larger_than_the_file() -> None:
    data = _dump(np.zeros(4096, dtype=np.uint8))
    grown = data.replace(b"M\x00\x10\x85", b"M\xff\xff\x85")  # BININT2 4096, TUPLE1: the shape
    assert grown != data
    assert blocked(look(grown)) == ["truncated"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param((b"\x8c\x05dtype\x94", b"\x8c\x05dtypf\x94"), id="no dtype"),
        pytest.param((b"\x8c\x05shape\x94", b"\x8c\x05shapf\x94"), id="no shape"),
        pytest.param((b"\x8c\x02u1\x94", b"\x8c\x02q1\x94"), id="dtype unknown"),
    ],
)
def test_arrays_that_cannot_be_told(change: tuple[bytes, bytes]) -> None:
    data = _dump(np.arange(8, dtype=np.uint8))
    assert change[0] in data
    assert "joblib_array" in blocked(look(data.replace(*change)))


def test_the_class_of_arrays_is_used_in_no_other_way() -> None:
    name = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n"
    for misuse in (
        b"\x80\x02ccopyreg\n_reconstructor\n(" + name + b"cbuiltins\nobject\nNtR.",
        b"\x80\x02]" + name + b"a.",
        b"\x80\x02]" + name + b")\x81a.",
        b"\x80\x02}K\x01" + name + b")\x81s.",
        b"\x80\x02(" + name + b"o.",
        b"(ijoblib.numpy_pickle\nNumpyArrayWrapper\n.",
        b"\x80\x02" + name + b")\x81]b.",
    ):
        assert blocked(look(b"\x80\x02ccollections\nCounter\n)R0" + misuse)) == ["joblib_array"], misuse


def test_decompression_is_bounded() -> None:
    data = _dump(np.zeros(4_000_000), 9)
    assert len(data) < 100_000
    assert look(data).ok
    seen = look(data, limits=Limits(inflated_bytes=1024 * 1024))
    assert blocked(seen) == ["inflated_too_much"]


def test_damaged_compression_blocks() -> None:
    data = _dump([np.random.default_rng(0).random(10_000), _Evil()], 3)
    assert "pickle_global_not_allowed" in blocked(look(data))
    assert blocked(look(data[: len(data) // 2])) == ["truncated"]
    assert blocked(look(data + b"more")) == ["decompression_failed"]


def test_a_second_stream_is_read_on() -> None:
    """Loaders read concatenated streams as one."""
    whole = pickle.dumps([1, _Evil()])
    data = zlib.compress(whole[:10]) + zlib.compress(whole[10:])
    assert blocked(look(data)) == ["pickle_global_not_allowed"]


@pytest.mark.parametrize(
    ("start", "name"), [(b"\x04\x22\x4d\x18", "lz4"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"ZF0x1a", "joblib before 0.10")]
)
def test_what_cannot_be_opened_counts_as_executable(start: bytes, name: str) -> None:
    seen = look(start + bytes(100))
    assert seen.format == "compressed"
    assert seen.executable
    assert codes(seen) == ["compression_unread"]
    assert seen.facts == {"compression": name}
