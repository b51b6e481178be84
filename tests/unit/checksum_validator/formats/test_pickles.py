"""Pickles: what they import is named, whichever way they go about it; nothing is ever loaded."""

from __future__ import annotations

import collections
import datetime
import io
import os
import pickle
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from muniment.checksum_validator.formats import Limits

from .builders import blocked, codes, look, unhurried


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def _short(text: bytes) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text


_DATA = {"a": [1, 2.5, None, True, 10**30, -5], "b": (1, 2, 3, 4, "five"), "c": b"x" * 300, "d": {1, 2}, "e": "é" * 300}


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_of_every_protocol(protocol: int) -> None:
    seen = look(pickle.dumps(_DATA, protocol), "data.pkl", "pickle")
    assert seen.format == "pickle"
    assert seen.executable
    assert seen.ok
    assert codes(seen) == ["executable_format"]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ["model.pkl", "model.safetensors", "model.txt", "README"])
def test_a_call_is_seen_in_every_protocol_under_every_name(protocol: int, name: str) -> None:
    seen = look(pickle.dumps([1, _Evil(), "x"], protocol), name)
    assert seen.format == "pickle"
    assert seen.executable
    assert "pickle_global_not_allowed" in blocked(seen)
    assert seen.facts["globals"] == [f"{os.system.__module__}.system"]


_CALL = b"(S'true'\ntR."

EVIL = {
    "GLOBAL": b"cos\nsystem\n" + _CALL,
    "protocol 0 with a signature": b"\x80\x00cos\nsystem\n" + _CALL,
    "no STOP": b"cos\nsystem\n(S'true'\ntR",
    "rubbish behind the call": b"cos\nsystem\n(S'true'\ntR\xff\xff\xff",
    "INST": b"(S'true'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'true'\no.",
    "NEWOBJ": b"\x80\x02cos\nsystem\nU\x04true\x85\x81.",
    "NEWOBJ_EX": b"\x80\x04cos\nsystem\n(S'true'\nt}\x92.",
    "STACK_GLOBAL": b"\x80\x04" + _short(b"os") + _short(b"system") + b"\x93" + _short(b"true") + b"\x85R.",
    "result popped": b"cos\nsystem\n(S'true'\ntR0N.",
    "behind two thousand opcodes": b"N0" * 40_000 + b"cos\nsystem\n" + _CALL,
    "behind a long line": b"V" + b"x" * 300_000 + b"\n0cos\nsystem\n" + _CALL,
    "behind odd numbers": b"I0x1\n0I 1_0\n0L5L\n0Fnan\n0F1e5\n0cos\nsystem\n" + _CALL,
    "arguments as a text": b"cos\nsystem\nS'x'\nR.",
    "arguments as a list": b"cos\nsystem\n(S'true'\nlR.",
    "names from the memo": b"\x80\x04" + _short(b"os") + b"\x94" + _short(b"system") + b"\x940" + b"0h\x00h\x01\x93)R.",
    "memo overwritten": (
        b"\x80\x04" + _short(b"collections") + b"q\x00" + b"0" + _short(b"os") + b"q\x000" + b"h\x00" + _short(b"system")
        + b"\x93" + _short(b"true") + b"\x85R."
    ),
    "memo out of order": (
        # MEMOIZE numbers by how many slots are filled: 5 is, so "os" goes to slot 1
        b"\x80\x04" + _short(b"collections") + b"q\x050" + _short(b"os") + b"\x940" + b"h\x01" + _short(b"system") + b"\x93)R."
    ),
    "names duplicated": b"\x80\x04" + _short(b"os") + b"2" + b"0" + _short(b"system") + b"\x93)R.",
    "names in an old encoding": b"\x80\x04U\x02osU\x06system\x93)R.",
    "names between marks": b"\x80\x04(" + _short(b"os") + _short(b"system") + b"\x93" + b"(N1" + _short(b"true") + b"\x85R.",
}  # fmt: skip


@pytest.mark.parametrize("data", EVIL.values(), ids=EVIL.keys())
def test_ways_to_os_system(data: bytes) -> None:
    seen = look(data, "weights.bin")
    assert seen.format == "pickle"
    assert seen.executable
    assert "pickle_global_not_allowed" in blocked(seen)
    assert seen.facts["globals"] in (["os.system"], ["collections.system", "os.system"])


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("pkgutil", "resolve_name"),
        ("os", "system"),
        ("posix", "system"),
        ("nt", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("__builtin__", "exec"),
        ("pip", "main"),
        ("subprocess", "Popen"),
        ("logging", "FileHandler"),
        ("collections", "OrderedDict.__init__.__globals__"),
        ("collections", "namedtuple"),
        ("torch", "load"),
        ("torch.serialization", "load"),
        ("torch.utils.cpp_extension", "load"),
        ("numpy", "load"),
        ("numpy.f2py", "compile"),
        ("sklearn.tree._classes", "np"),
        ("sklearn.datasets._base", "GzipFile"),
        ("sklearn.linear_model.os", "LinearRegression.x"),
        ("joblib.numpy_pickle", "load"),
        ("pickle", "loads"),
        ("functools", "partial"),
        ("operator", "attrgetter"),
        ("code", "InteractiveInterpreter"),
    ],
)
def test_only_listed_names_pass(module: str, name: str) -> None:
    data = b"\x80\x04" + _short(module.encode()) + _short(name.encode()) + b"\x93)R."
    seen = look(data)
    assert blocked(seen) == ["pickle_global_not_allowed"]
    assert seen.findings[0].actual == f"{module}.{name}"


def test_an_operator_may_vouch_for_a_name() -> None:
    data = b"cmy_lib.models\nNet\n)R."
    assert blocked(look(data)) == ["pickle_global_not_allowed"]
    assert look(data, limits=Limits(trusted_globals=frozenset({"my_lib.models.Net"}))).ok
    dotted = b"\x80\x04" + _short(b"my_lib") + _short(b"models.Net") + b"\x93)R."
    assert not look(dotted, limits=Limits(trusted_globals=frozenset({"my_lib.models.Net"}))).ok


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            b"\x80\x04" + _short(b"os") + b"\x8d" + struct.pack("<Q", 200) + b"x" * 200 + b"\x93)R.", id="long"
        ),
        pytest.param(b"\x80\x04c_codecs\nencode\n(Vos\nVutf8\ntR" + _short(b"system") + b"\x93)R.", id="computed"),
        pytest.param(b"\x80\x04Vo\\u0073\n" + _short(b"system") + b"\x93)R.", id="escaped"),
        pytest.param(
            b"\x80\x04"
            + _short(b"collections")
            + b"q\x000c_codecs\nencode\n(Vos\nVutf8\ntRq\x000h\x00"
            + _short(b"OrderedDict")
            + b"\x93)R.",
            id="memo overwritten",
        ),
        pytest.param(b"\x80\x02\x82\x01)R.", id="extension registry"),
    ],
)
def test_names_that_cannot_be_told_block(data: bytes) -> None:
    assert "pickle_global_unresolved" in blocked(look(data))


def test_a_pickle_in_a_pickle_is_followed() -> None:
    inner = pickle.dumps(_Evil())
    seen = look(pickle.dumps({"weights": inner, "also": pickle.dumps([inner])}))
    assert blocked(seen) == ["pickle_global_not_allowed"]
    assert seen.facts["nested_pickles"] == 3
    deep = inner
    for _ in range(6):
        deep = pickle.dumps(deep)
    assert blocked(look(deep)) == ["pickle_too_deep"]


def test_bytes_that_only_begin_like_a_pickle_are_bytes() -> None:
    assert look(pickle.dumps({"w": b"\x80\x04\xff\xff" + bytes(100)})).ok


def test_harmless_globals_of_common_objects_pass() -> None:
    things = [
        collections.OrderedDict(a=1),
        collections.defaultdict(list),
        np.arange(10.0),
        np.float32(1),
        np.array(["a", None], dtype=object),
        np.random.default_rng(0),
        datetime.datetime.now(datetime.UTC),
        {1, 2},
        frozenset({1}),
        complex(1, 2),
        slice(1),
    ]
    for protocol in range(2, 6):
        for thing in things:
            seen = look(pickle.dumps(thing, protocol))
            assert seen.ok, (thing, seen.findings)


def test_changing_a_class_blocks() -> None:
    assert blocked(look(b"\x80\x02ccollections\nOrderedDict\n}b.")) == ["pickle_patches_class"]


def test_bytes_behind_a_pickle_block() -> None:
    assert blocked(look(pickle.dumps([1]) + b"more")) == ["pickle_trailing_bytes"]


def test_several_pickles_are_all_followed() -> None:
    seen = look(pickle.dumps([1]) + pickle.dumps({}) + pickle.dumps(_Evil()))
    assert blocked(seen) == ["pickle_global_not_allowed"]


def test_torch_before_its_zip_format() -> None:
    storage = b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x10tQ"
    weights = storage + b"K\x00K\x10\x85K\x01\x85\x89ccollections\nOrderedDict\n)R"
    tensor = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(" + weights[2:] + b"tRs."
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    keys = pickle.dumps(["0"], 2)
    seen = look(head + tensor + keys + struct.pack("<q", 16) + bytes(64), "model.pth", "torch")
    assert seen.format == "torch-legacy"
    assert seen.executable
    assert seen.ok
    assert seen.facts["persistent_ids"] == 1
    evil = look(head + pickle.dumps(_Evil(), 2) + keys + bytes(64), "model.pth", "torch")
    assert blocked(evil) == ["pickle_global_not_allowed"]


class _Stub:
    """Stands in for whatever a stream imports: takes every call and does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def __new__(cls, *args: object, **kwargs: object) -> _Stub:
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None: ...
    def append(self, item: object) -> None: ...
    def extend(self, items: object) -> None: ...
    def add(self, item: object) -> None: ...
    def update(self, items: object) -> None: ...
    def __setitem__(self, key: object, value: object) -> None: ...


class _Recorder(pickle._Unpickler):
    """Unpickles with every import replaced by a stub, and remembers what was imported."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.imported: list[str] = []

    def find_class(self, module: str, name: str) -> type[_Stub]:
        self.imported.append(f"{module}.{name}")
        return type("Stub", (_Stub,), {})

    def persistent_load(self, pid: object) -> _Stub:
        return _Stub()


_WORDS = st.sampled_from([b"os", b"system", b"collections", b"OrderedDict", b"eval", b"builtins"])
_SLOTS = st.integers(0, 5)


def _counted(size: str, opcode: bytes) -> st.SearchStrategy[bytes]:
    return _WORDS.map(lambda word: opcode + struct.pack(size, len(word)) + word)


_TEXT = st.one_of(
    _counted("<B", b"\x8c"),
    _counted("<I", b"X"),
    _counted("<Q", b"\x8d"),
    _counted("<B", b"U"),
    _WORDS.map(lambda word: b"V" + word + b"\n"),
    _WORDS.map(lambda word: b"S'" + word + b"'\n"),
    _SLOTS.map(lambda slot: b"h" + bytes([slot])),
    _SLOTS.map(lambda slot: b"j" + struct.pack("<I", slot)),
    _SLOTS.map(lambda slot: b"g%d\n" % slot),
)
_STORE = st.one_of(
    st.just(b"\x94"),
    _SLOTS.map(lambda slot: b"q" + bytes([slot])),
    _SLOTS.map(lambda slot: b"r" + struct.pack("<I", slot + 7)),
    _SLOTS.map(lambda slot: b"p%d\n" % slot),
)
_PUSH = st.one_of(
    _TEXT, st.sampled_from([b"N", b")", b"]", b"}", b"\x8f", b"\x88", b"I5\n", b"K\x03", b"F1.5\n", b"C\x01x"])
)
_SNIPPET = st.recursive(
    st.one_of(
        _PUSH,
        st.tuples(_PUSH, _STORE).map(b"".join),
        st.tuples(_TEXT, _STORE, st.just(b"0")).map(b"".join),
        st.tuples(_TEXT, _TEXT, st.just(b"\x93")).map(b"".join),
        st.tuples(st.just(b"c"), _WORDS, st.just(b"\n"), _WORDS, st.just(b"\n")).map(b"".join),
        st.tuples(st.just(b"(i"), _WORDS, st.just(b"\n"), _WORDS, st.just(b"\n")).map(b"".join),
    ),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(b"".join),
        st.tuples(inner, inner, st.sampled_from([b"\x86", b"a", b"b", b"R", b"\x81", b"0", b"\x93"])).map(b"".join),
        st.tuples(st.just(b"("), inner, inner, st.sampled_from([b"t", b"l", b"d", b"1", b"o"])).map(b"".join),
        st.tuples(st.just(b"]("), inner, st.just(b"e")).map(b"".join),
        st.tuples(st.just(b"}("), inner, inner, st.just(b"u")).map(b"".join),
        st.tuples(inner, st.sampled_from([b"2", b"20", b"\x85", b"\x85R", b")R", b")\x81", b"Q"])).map(b"".join),
    ),
    max_leaves=12,
)
_FILLED = b"".join(
    _short(word) + b"\x940" for word in (b"os", b"system", b"collections", b"OrderedDict", b"eval", b"os")
)


@unhurried
@given(_SNIPPET, st.sampled_from([b"\x80\x02", b"\x80\x04"]))
def test_never_less_is_seen_than_an_unpickler_imports(body: bytes, start: bytes) -> None:
    """However names travel over stack and memo, and whether or not the stream ends in an error."""
    data = start + _FILLED + body + b"."
    recorder = _Recorder(data)
    try:
        recorder.load()
        event("loads")
    except Exception:  # noqa: BLE001  # reason: a damaged stream ends in any error; what it did before that counts
        event("fails")
    event(f"imports {min(len(recorder.imported), 3)}")
    # a call first, so that the stream is taken for a pickle however early it fails
    seen = look(start + b"ccollections\nCounter\n)R0" + data[2:])
    assert seen.format == "pickle"
    shown = seen.facts["globals"]
    assert isinstance(shown, list)
    if "pickle_global_unresolved" not in blocked(seen):
        assert set(recorder.imported) <= set(shown)


# --- what a hostile pickle costs


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x80\x04" + b"N" * 2_000_000, id="stack"),
        pytest.param(b"\x80\x04" + b"(" * 1_000_000, id="marks"),
        pytest.param(b"\x80\x04" + b"".join(b"\x8c\x7f%0127d\x94" % i for i in range(60_000)), id="texts"),
        pytest.param(b"\x80\x04" + b"N\x940" * 700_000, id="memo"),
        pytest.param(
            b"\x80\x04" + b"".join(b"Nr%s0" % struct.pack("<I", i * 3 + 5) for i in range(200_000)), id="slots"
        ),
        pytest.param(b"\x80\x04" + b"".join(b"cm%d\nn\n0" % i for i in range(5_000)), id="globals"),
        pytest.param(b"\x80\x04" + b"K\x01K\x02K\x03\x87" * 200_000, id="tuples"),
    ],
)
def test_hostile_pickles_take_little_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        seen = look(data, limits=Limits(pickle_opcodes=150_000))
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert not seen.ok
    assert peak < 32 * 1024 * 1024
