from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from muniment.cli import options
from muniment.cli.failures import Usage

names = st.text(min_size=1, max_size=20).filter(lambda text: "=" not in text)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=50),
)


@given(names, st.text(max_size=100))
def test_a_pair_is_split_at_the_first_equals_sign(name: str, value: str) -> None:
    assert options.pairs([f"{name}={value}"], "--tag") == {name: value}


@pytest.mark.parametrize("item", ["", "name", "=value"])
def test_what_is_no_pair_is_told(item: str) -> None:
    with pytest.raises(Usage) as caught:
        options.pairs([item], "--tag")
    assert "--tag" in caught.value.message
    assert caught.value.actual == repr(item)


def test_repeated_options_merge_and_the_last_of_a_name_counts() -> None:
    assert options.scalars(["lr=0.1", "seed=1", "lr=0.2"], "--param") == {"lr": 0.2, "seed": 1}


@given(scalars)
def test_a_json_scalar_is_read_as_itself(value: Any) -> None:
    found = options.scalar(json.dumps(value))
    assert found == value
    assert type(found) is type(value)


@given(st.text(max_size=100))
@example("NaN")
@example("-Infinity")
@example("1e999")
@example("9007199254740993")
@example("[1]")
@example('{"a": 1}')
@example("[" * 100_000)
def test_any_text_becomes_a_scalar_that_json_can_carry(text: str) -> None:
    found = options.scalar(text)
    assert found is None or isinstance(found, str | int | float)
    if isinstance(found, float):
        assert math.isfinite(found)
    if isinstance(found, int):
        assert abs(found) <= 2**53 - 1
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("text", ["NaN", "1e999", "9007199254740993", "[1]", "0x10", "007", "True", "", " x"])
def test_what_json_cannot_carry_stays_text(text: str) -> None:
    assert options.scalar(text) == text


@pytest.mark.parametrize("text", ["", "abc", "nan", "inf", "1,5", "1e999"])
def test_metrics_are_numbers(text: str) -> None:
    with pytest.raises(Usage):
        options.numbers([f"loss={text}"], "--metric")


def test_metrics_become_floats() -> None:
    assert options.numbers(["a=1", "b=-2.5e3"], "--metric") == {"a": 1.0, "b": -2500.0}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("train", {"name": "train"}),
        ("train=s3://b/t.csv", {"name": "train", "uri": "s3://b/t.csv"}),
        ("train=s3://b/t.csv@sha256:ab", {"name": "train", "uri": "s3://b/t.csv", "digest": "sha256:ab"}),
        ("t=https://me@host/x", {"name": "t", "uri": "https://me@host/x"}),
        ("t=https://me@host/x@v2", {"name": "t", "uri": "https://me@host/x", "digest": "v2"}),
        ("t=s3://b/t?a=b", {"name": "t", "uri": "s3://b/t?a=b"}),
        ("t=x@", {"name": "t", "uri": "x@"}),
        ("train@sha256:ab", {"name": "train", "digest": "sha256:ab"}),
        ("train=sha256:ab", {"name": "train", "digest": "sha256:ab"}),
        ("me@home", {"name": "me@home"}),
    ],
)
def test_datasets(item: str, expected: dict[str, str]) -> None:
    assert options.datasets([item]) == [expected]


@pytest.mark.parametrize("item", ["", "=s3://b/x", "train="])
def test_datasets_that_are_not_understood(item: str) -> None:
    with pytest.raises(Usage):
        options.datasets([item])


def test_parents() -> None:
    digest = "sha256:" + "ab" * 32
    assert options.parents([digest, f"{digest}:fine-tune"]) == [{"id": digest}, {"id": digest, "kind": "fine-tune"}]
    assert options.parents(["digits/3:merge", f"digits@{digest}", "digits@main:derived"]) == [
        {"id": "digits/3", "kind": "merge"},
        {"id": f"digits@{digest}"},
        {"id": "digits@main"},
    ]


@pytest.mark.parametrize(
    "item",
    ["digits/3:copy", "digits/", "", ":fine-tune", "sha256:ab", "sha256:" + "AB" * 32, "sha256:" + "ab" * 32 + ":"],
)
def test_parents_that_are_not_understood(item: str) -> None:
    with pytest.raises(Usage):
        options.parents([item])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("127.0.0.1:8686", ("127.0.0.1", 8686)),
        (":0", ("127.0.0.1", 0)),
        ("[::1]:8080", ("::1", 8080)),
        ("registry.example:65535", ("registry.example", 65535)),
    ],
)
def test_addresses(text: str | None, expected: tuple[str, int] | None) -> None:
    assert options.address(text) == expected


@given(st.text(max_size=40))
@example("::1:80")
@example("host:65536")
@example("host:" + "9" * 6000)
@example("host:٣")
def test_any_text_is_an_address_or_told(text: str) -> None:
    try:
        found = options.address(text)
    except Usage:
        return
    assert found is not None
    host, port = found
    assert host
    assert 0 <= port <= 65535
