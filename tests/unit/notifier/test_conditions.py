"""Conditions on metrics and tags: read strictly, met exactly."""

from __future__ import annotations

import math
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.conditions import condition, tag_wish
from muniment.contracts.errors import Rejected
from muniment.notifier.domain import Facts, filter_of

OPERATORS = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.text(alphabet="abc/@.- %", min_size=1, max_size=12).filter(lambda text: text.strip() == text)


@given(names, st.sampled_from(sorted(OPERATORS)), finite, finite)
def test_a_condition_means_the_comparison_it_looks_like(name: str, sign: str, number: float, value: float) -> None:
    read = condition(f"{name} {sign} {number!r}")
    assert (read.metric, read.operator, read.number) == (name, sign, number)
    assert condition(str(read)) == read
    assert read.met_by({name: value}) == OPERATORS[sign](value, number)
    assert not read.met_by({f"{name}2": value})


@pytest.mark.parametrize("sign", sorted(OPERATORS))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_meets_nothing(sign: str, value: float) -> None:
    assert not condition(f"loss{sign}1").met_by({"loss": value})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "accuracy",
        "accuracy>=",
        ">=0.9",
        " >= 1",
        "accuracy=0.9",
        "accuracy=>0.9",
        "accuracy>=nan",
        "accuracy>=NaN",
        "accuracy<inf",
        "accuracy<-Infinity",
        "accuracy<1e999",
        "accuracy>=0x1",
        "accuracy>=1_000",
        "accuracy>=٣",
        "accuracy>=0,9",
        "accuracy>=0.9 and loss<1",
        "accuracy>=0.9\n",
        "a\nb>=1",
        "accuracy>=0.9;loss<1",
        "x" * 257 + ">1",
        "accuracy>" + "9" * 500,
    ],
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        filter_of({"metrics": [text]})
    assert caught.value.code == "filter_invalid"


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_and_never_anything_else(text: str) -> None:
    for read in (condition, tag_wish):
        try:
            wish = read(text)
        except Rejected:
            continue
        assert read(str(wish)) == wish


def test_all_tags_and_all_conditions_must_be_met() -> None:
    wanted = filter_of(
        {"stability": "stable", "metrics": ["accuracy >= 0.95", "loss<0.5"], "tags": ["reviewed", "env=production"]}
    )
    tags = {"reviewed": "by ada", "env": "production"}

    def matches(metrics: dict[str, float], tags: dict[str, str] = tags) -> bool:
        return wanted.matches(Facts("version-available", "digits", stability="stable", tags=tags, metrics=metrics))

    assert matches({"accuracy": 0.95, "loss": 0.1})
    assert not matches({"accuracy": 0.9499, "loss": 0.1})
    assert not matches({"accuracy": 0.96, "loss": 0.5})
    assert not matches({"accuracy": 0.96})
    assert not matches({"accuracy": 0.95, "loss": 0.1}, {"env": "production"})
    assert not matches({"accuracy": 0.95, "loss": 0.1}, {"reviewed": "x", "env": "test"})


@pytest.mark.parametrize("text", ["", "=x", "a\x00b", "a=b\nc", "k" * 257, "k=" + "v" * 257])
def test_what_is_no_tag_is_refused(text: str) -> None:
    with pytest.raises(Rejected):
        filter_of({"tags": [text]})


def test_an_empty_value_is_a_value() -> None:
    assert tag_wish("a=").met_by({"a": ""})
    assert not tag_wish("a=").met_by({"a": "b"})
    assert tag_wish("a=b=c").met_by({"a": "b=c"})


@pytest.mark.parametrize("name", ["tags", "metrics"])
def test_there_are_not_endlessly_many(name: str) -> None:
    wishes = [f"m{number} > 1" if name == "metrics" else f"t{number}" for number in range(21)]
    assert filter_of({name: wishes[:20]})
    with pytest.raises(Rejected):
        filter_of({name: wishes})
