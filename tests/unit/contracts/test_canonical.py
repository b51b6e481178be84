"""Canonical JSON is that of the library, byte for byte, whichever way it is written."""

from __future__ import annotations

from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from muniment.contracts.canonical import canonical_json
from muniment.contracts.errors import Rejected

NAMES = st.text(max_size=4) | st.sampled_from(["a", "b", "A", "aa", "\u00e9", "\ue000", "\U0001f600", ""])
NUMBERS = (
    st.integers() | st.floats() | st.sampled_from([2**53 - 1, 2**53, 1e15, 1e16, 1e21, 1e-4, 9e-5, 1e-7, -0.0, 0.1])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=6) | st.characters(max_codepoint=0xFFFF),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def by_the_library(value: Any) -> bytes | None:
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        return None


@given(VALUES)
@example({"\ue000": 1, "\U0001f600": 2})  # ordered by UTF-16 units, not by code points
@example([1.0, 1e15, 123456789012345.5, 1e16, 1e21, 0.0001, 0.00001, 1e-7, -0.0, 5e-324, 1.5])
@example('\u2028\x7f\x00\x1f\b\f\n\r\t"\\/')
@example([2**53 - 1, -(2**53) + 1])
@example("\ud800")
@example([float("nan")])
def test_the_text_is_the_librarys(value: Any) -> None:
    expected = by_the_library(value)
    if expected is None:
        with pytest.raises(Rejected) as caught:
            canonical_json(value)
        assert caught.value.code == "not_canonical"
    else:
        assert canonical_json(value) == expected


@pytest.mark.parametrize("value", [{1: "a"}, 2**53, object(), {"a": {1, 2}}])
def test_what_json_cannot_carry_is_refused(value: Any) -> None:
    with pytest.raises(Rejected):
        canonical_json(value)
