"""Semantic versions and ranges: strict, sorted as section 11 says, and read as npm's users expect."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.errors import Rejected
from muniment.contracts.reference import parse_reference
from muniment.contracts.semver import Semver, parse_semver
from muniment.contracts.semver_range import parse_range

NUMBERS = st.one_of(st.integers(0, 12), st.integers(0, 10**30))
WORDS = st.from_regex(r"[0-9]{0,2}[a-zA-Z-][0-9a-zA-Z-]{0,3}", fullmatch=True)
IDENTIFIERS = st.one_of(NUMBERS.map(str), WORDS, st.sampled_from(["a", "a-", "aa", "A", "-", "0a", "alpha", "beta"]))
VERSIONS = st.builds(
    Semver,
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.lists(IDENTIFIERS, max_size=3).map(tuple),
    st.lists(st.from_regex(r"[0-9A-Za-z-]{1,4}", fullmatch=True), max_size=2).map(tuple),
)
SMALL = st.builds(Semver, *[st.integers(0, 3)] * 3, st.sampled_from([(), (), ("0",), ("rc", "1"), ("rc", "2")]))


def compared(a: Semver, b: Semver) -> int:
    """SemVer 2.0.0, section 11, sentence by sentence: below zero where `a` is lower."""
    if a.core != b.core:
        return -1 if a.core < b.core else 1
    if not a.prerelease or not b.prerelease:
        return bool(b.prerelease) - bool(a.prerelease)
    for one, other in zip(a.prerelease, b.prerelease, strict=False):
        if one.isdigit() and other.isdigit():
            if int(one) != int(other):
                return -1 if int(one) < int(other) else 1
        elif one.isdigit() != other.isdigit():
            return -1 if one.isdigit() else 1
        elif one != other:
            return -1 if one < other else 1
    return len(a.prerelease) - len(b.prerelease)


@given(VERSIONS, VERSIONS)
def test_keys_sort_as_section_11_says(a: Semver, b: Semver) -> None:
    order = compared(a, b)
    assert (a.precedence < b.precedence) == (order < 0)
    assert (a.precedence == b.precedence) == (order == 0)


def test_the_order_of_the_specification() -> None:
    text = "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 2.0.0 2.1.0 2.1.1 10.0.0"
    versions = [parse_semver(one) for one in text.split()]
    assert sorted(versions, key=lambda one: one.precedence) == versions


@given(VERSIONS)
def test_a_version_reads_back_as_itself(version: Semver) -> None:
    assert parse_semver(str(version)) == version if len(str(version)) <= 128 else True


@given(st.text(alphabet="0123456789.-+abvX ^\u0661\n", max_size=20))
def test_any_text_is_a_version_or_refused(text: str) -> None:
    try:
        assert str(parse_semver(text)) == text
    except Rejected as error:
        assert error.code == "semver_invalid"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("v1.2", "write 1.2.0"),
        ("v1.2.3", "write 1.2.3"),
        ("1", "write 1.0.0"),
        ("01.2.3", "write 1.2.3"),
        ("1.2.3\n", "write 1.2.3"),
        ("1.2.3-01", "for example"),
        ("1.2.3-", "for example"),
        ("1.2.3-a..b", "for example"),
        ("1.2.3+", "for example"),
        ("1.2.3+a+b", "for example"),
        ("\u0661.2.3", "for example"),
        ("1.2.3-\u00e9", "for example"),
        ("1.2.3-" + "a" * 123, "for example"),
        ("", "for example"),
    ],
)
def test_what_is_no_version_is_told_what_would_be(text: str, hint: str) -> None:
    with pytest.raises(Rejected) as caught:
        parse_semver(text)
    assert caught.value.code == "semver_invalid"
    assert "MAJOR.MINOR.PATCH" in str(caught.value)
    assert str(caught.value.hint).startswith(hint)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("^1.2", "1.2.0 1.9.9 1.2.3+b", "1.1.9 2.0.0 2.0.0-rc.1 1.3.0-rc.1"),
        ("^1.2.3-rc.2", "1.2.3-rc.2 1.2.3-rc.3 1.2.3 1.4.0", "1.2.3-rc.1 1.2.4-rc.2 2.0.0"),
        ("^0.2.3", "0.2.3 0.2.9", "0.2.2 0.3.0 1.0.0"),
        ("^0.0.3", "0.0.3", "0.0.2 0.0.4"),
        ("^0.0", "0.0.0 0.0.9", "0.1.0"),
        ("^0.x", "0.0.1 0.9.0", "1.0.0"),
        ("~1.2.3", "1.2.3 1.2.9", "1.2.2 1.3.0"),
        ("~1", "1.0.0 1.9.0", "2.0.0 0.9.9"),
        ("1.x", "1.0.0 1.9.9", "2.0.0 1.0.0-rc.1"),
        ("1.2.*", "1.2.0 1.2.9", "1.3.0 1.1.0"),
        ("1.2", "1.2.0 1.2.9", "1.3.0"),
        ("=1.2.3", "1.2.3 1.2.3+a", "1.2.4 1.2.3-rc.1"),
        (">=1.2 <2", "1.2.0 1.99.0", "1.1.0 2.0.0 2.0.0-a"),
        (">1.2 <=1.4", "1.3.0 1.4.9", "1.2.9 1.5.0"),
        (">1.2.3", "1.2.4 9.0.0", "1.2.3"),
        ("1.2 - 1.4", "1.2.0 1.4.7", "1.5.0 1.1.9"),
        ("1.2.3 - 2.3.4", "1.2.3 2.3.4", "2.3.5 1.2.2"),
        ("^1 || ^3", "1.5.0 3.0.1", "2.0.0 4.0.0"),
        ("*", "0.0.0 99.0.0", "1.0.0-rc.1"),
        (">*", "", "0.0.0 1.0.0"),
        (">= 1.2", "1.2.0", "1.1.0"),
        (">=1.3.0-rc.1", "1.3.0-rc.2 1.3.0 1.4.0", "1.4.0-rc.1 1.3.0-alpha"),
    ],
)
def test_ranges_hold_what_npm_says(text: str, inside: str, outside: str) -> None:
    wanted = parse_range(text)
    assert [one for one in inside.split() if parse_semver(one) not in wanted] == []
    assert [one for one in outside.split() if parse_semver(one) in wanted] == []


@pytest.mark.parametrize(
    "text", ["", "^", "^v1", "1.2.3.4", "^1 ||", "01.x", "1 -2", "a", "^1^2", ">=1.2<2", "1.2-rc", "^" * 201]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        parse_range(text)
    assert caught.value.code == "range_invalid"


PARTIALS = st.one_of(
    SMALL.map(str), st.from_regex(r"[0-3](\.[0-3x]){0,2}", fullmatch=True), st.sampled_from(["*", "1.2.3-rc.1"])
)
RANGES = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["", "^", "~", ">", ">=", "<", "<=", "="]), PARTIALS).map("".join),
        min_size=1,
        max_size=2,
    ).map(" ".join),
    min_size=1,
    max_size=2,
).map(" || ".join)


@given(RANGES, SMALL)
def test_where_to_look_for_a_range_leaves_nothing_out(text: str, version: Semver) -> None:
    wanted = parse_range(text)
    if version in wanted:
        low, high = wanted.hull()
        assert low <= version.precedence <= high
        assert wanted.names_prerelease or not version.prerelease


@given(RANGES)
def test_a_range_is_a_reference_that_reads_back(text: str) -> None:
    reference = parse_reference(f"digits@{text}")
    assert reference.kind in {"range", "release"}
    assert parse_reference(str(reference)) == reference
