"""Tokens as text: recognisable, checkable without a database, and never the same twice."""

from __future__ import annotations

import hashlib
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.runtime.identity.tokens import looks_like_token, new_token, token_hash

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
# Made once and written down, so that tokens issued today are still taken by any later code.
FIXED = "mnt_000000000000000000000000000000000000" + "067eMn"


def test_a_token_has_the_documented_form() -> None:
    text, hashed = new_token()
    assert re.fullmatch(r"mnt_[0-9A-Za-z]{42}", text)
    assert looks_like_token(text)
    assert hashed == hashlib.sha256(text.encode()).digest() == token_hash(text)


def test_the_checksum_is_crc32_in_base62() -> None:
    import zlib

    number = zlib.crc32(b"mnt_" + b"0" * 36)
    assert sum(ALPHABET.index(digit) * 62**place for place, digit in enumerate(reversed(FIXED[-6:]))) == number
    assert looks_like_token(FIXED)


def test_no_two_are_alike() -> None:
    assert len({new_token()[0] for _ in range(1000)}) == 1000


@given(st.integers(0, 45), st.sampled_from(ALPHABET + "_- \n"))
def test_one_wrong_character_is_noticed(place: int, letter: str) -> None:
    text, _ = new_token()
    changed = text[:place] + letter + text[place + 1 :]
    assert looks_like_token(changed) == (changed == text)


@pytest.mark.parametrize("place", range(4, 45))
def test_two_characters_swapped_are_noticed(place: int) -> None:
    text, _ = new_token()
    swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    assert looks_like_token(swapped) == (swapped == text)


@given(st.text(max_size=60))
def test_other_texts_are_no_tokens(text: str) -> None:
    assert not looks_like_token(text)


@pytest.mark.parametrize(
    "text", [FIXED + "\n", " " + FIXED, FIXED + FIXED, FIXED.upper(), FIXED[4:], "mnt_" + "٣" * 42]
)
def test_a_token_with_something_around_it_is_none(text: str) -> None:
    assert not looks_like_token(text)
