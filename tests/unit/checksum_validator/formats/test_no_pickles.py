"""What is no pickle: streams that no unpickler takes, texts, raw weights that begin like one."""

from __future__ import annotations

import pickle
import struct

import pytest

from .builders import blocked, look

MALFORMED = {
    "stack empty": b"\x80\x04.",
    "no opcode": b"\x80\x04\xfe",
    "no mark": b"\x80\x04t.",
    "empty memo slot": b"\x80\x04h\x05.",
    "text beyond the end": b"\x80\x04\x8c\xff",
    "bytes of 2**63": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 63),
    "text of 2**63": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 63) + b"x" * 64,
    "frame of 2**63": b"\x80\x04\x95" + struct.pack("<Q", 1 << 63) + b"N.",
    "long of -1": b"\x80\x04\x8b\xff\xff\xff\xff.",
    "protocol 9": b"\x80\x09N.",
    "cut off": pickle.dumps({"a": [1, 2.5, None], "b": b"x" * 300})[:-1],
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_no_unpickler_takes_is_no_pickle(data: bytes) -> None:
    seen = look(data, declared="pickle")
    assert not seen.ok
    assert blocked(seen) == ["format_mismatch"]
    with pytest.raises(Exception):  # noqa: B017  # reason: unpicklers raise whatever they like
        pickle.loads(data)


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_call_before_the_damage_still_makes_it_a_pickle(data: bytes) -> None:
    seen = look(b"\x80\x02ccollections\nOrderedDict\n)R0" + data)
    assert seen.format == "pickle"
    assert not seen.ok


TEXTS = [
    "hello world\n",
    "import os\nos.system('true')\n",
    "(c) 2026 Example Inc\nAll rights reserved\nRead me\n",
    "cat\ndog\nhorse\n",
    "Value\nVariance\nResult\nRb.",
    "Name,age\nAda,36\n",
    "I am a text.\n",
    "- a: 1\n- b: 2\n",
    "learning_rate: 0.1\n",
    "# Title\n\nText.\n",
    "column_a,column_b," + ",".join(f"c{i}" for i in range(500)) + "\n1,2\n",
    "V" * 5000,
    "iVBORw0KGgo" + "A" * 3000,
    ")]}(",
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_text_is_no_pickle(text: str) -> None:
    assert look(text.encode()).format == "text"


# --- never less than an unpickler sees


@pytest.mark.parametrize(
    "head",
    [
        b"}\x88b\xc4l\xeb\x8e\x1b",  # BUILD of a dictionary with True
        b"\x83\xfc\xa3\x32\x81\x0e\xfe",  # an extension code that nobody has given a meaning, and a call of it
        b"\x8a\x16" + bytes(range(0x80, 0x96)) + b"\x81\x0c",
    ],
)
def test_raw_weights_that_begin_like_a_pickle_are_none(head: bytes) -> None:
    assert look(head + bytes(range(256)) * 16).format == "unknown"


@pytest.mark.parametrize("call", [b"cos\nsystem\n(S'ls'\ntR", b"\x8c\x02os\x8c\x06system\x93)R"])
def test_a_call_of_something_imported_is_a_pickle_whatever_comes_behind(call: bytes) -> None:
    assert look(call + b"\xff" * 64).format == "pickle"
