"""Strict JSON: agrees with the standard reader where that is safe, refuses with a code where it is not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.errors import Rejected
from muniment.contracts.strict_json import MAX_DEPTH, loads

safe_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | safe_text,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(safe_text, inner, max_size=5),
    max_leaves=30,
)

REFUSED = {
    b"": "json_empty",
    b"{": "json_malformed",
    b"{} {}": "json_malformed",
    b"'a'": "json_malformed",
    b"\xef\xbb\xbf{}": "json_encoding",
    '{"a":1}'.encode("utf-16"): "json_encoding",
    b'"\xff"': "json_encoding",
    b"NaN": "json_not_finite",
    b"[-Infinity]": "json_not_finite",
    b"1e400": "json_not_finite",
    b'{"a":1,"a":1}': "json_duplicate_name",
    b'{"b":{"a":1,"a":2}}': "json_duplicate_name",
    b"9007199254740992": "json_integer_range",
    b"-9007199254740992": "json_integer_range",
    b"1" + b"0" * 400: "json_integer_range",
    b"[" * 100_000: "json_too_deep",
    b'{"a":' * 65 + b"1" + b"}" * 65: "json_too_deep",
    b'"\\u0000"': "json_forbidden_character",
    b'{"\\u0000":1}': "json_forbidden_character",
    b'["\\ud800"]': "json_forbidden_character",
}


@given(values)
def test_it_reads_what_the_standard_reader_reads(value: object) -> None:
    assert loads(json.dumps(value).encode()) == value
    assert loads(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=300))
def test_any_bytes_are_a_value_or_refused(raw: bytes) -> None:
    try:
        loads(raw)
    except Rejected as error:
        assert error.code.startswith("json_")


@pytest.mark.parametrize(("raw", "code"), REFUSED.items(), ids=range(len(REFUSED)))
def test_what_is_refused_has_its_code(raw: bytes, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        loads(raw)
    assert caught.value.code == code


def test_brackets_inside_strings_are_not_depth() -> None:
    text = "[" * 500 + '\\"' + "{" * 500
    assert loads(b'{"a": "' + text.encode() + b'"}') == {"a": text.replace('\\"', '"')}


def test_the_deepest_allowed_is_read() -> None:
    assert loads(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is not None


def test_scanning_an_unfinished_string_full_of_quotes_is_linear() -> None:
    with pytest.raises(Rejected):
        loads(b'["' + b'\\"[' * 200_000)


def test_the_size_is_checked_first() -> None:
    with pytest.raises(Rejected) as caught:
        loads(b"[" * 11, max_bytes=10)
    assert caught.value.code == "json_too_large"
    assert caught.value.http_status == 413
