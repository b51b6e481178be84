from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.errors import Rejected
from muniment.contracts.events import TrainingCompleted
from muniment.sdk.facts import event_fields, number, scalar

FILE = {"path": "m.bin", "sha256": "ab" * 32, "size": 7}
words = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), st.floats(allow_nan=False, allow_infinity=False)
)


@given(st.dictionaries(words, scalars, max_size=5), st.dictionaries(words, st.integers(-1000, 1000), max_size=5))
def test_whatever_is_taken_the_contract_takes_unchanged(params: dict[str, Any], metrics: dict[str, int]) -> None:
    fields = event_fields("digits", params=params, hyperparams=params, metrics=metrics)
    event = TrainingCompleted.model_validate({**fields, "files": [FILE]})
    assert event.facts.params == params
    assert event.facts.hyperparams == params
    assert event.facts.metrics == metrics


@pytest.mark.parametrize(
    ("value", "expected"),
    [(np.float32(0.5), 0.5), (np.int64(3), 3), (np.bool_(True), True), (np.str_("a"), "a"), (np.array(2.0), 2.0)],
)
def test_numpy_scalars_are_the_numbers_they_are(value: Any, expected: Any) -> None:
    found = scalar(value, "x")
    assert found == expected
    assert type(found) in {int, float, bool, str, np.str_}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan"), [1], {"a": 1}, b"x", object()])
def test_what_json_cannot_carry_is_refused_by_name(value: Any) -> None:
    with pytest.raises(Rejected) as caught:
        event_fields("digits", params={"layers": value})
    assert caught.value.code == "value_invalid"
    assert "params.layers" in caught.value.message


@pytest.mark.parametrize("value", ["0.5", True, None, math.nan])
def test_metrics_are_numbers(value: Any) -> None:
    with pytest.raises(Rejected):
        number(value, "metrics.x")


def test_empty_facts_are_left_out() -> None:
    fields = event_fields("digits", code={"commit": "abc", "branch": None}, environment={"packages": {}})
    assert fields["facts"] == {"code": {"commit": "abc"}}


def test_zero_and_false_are_not_empty() -> None:
    fields = event_fields("digits", params={"dropout": 0, "shuffle": False, "name": ""}, metrics={"loss": 0})
    assert fields["facts"]["params"] == {"dropout": 0, "shuffle": False, "name": ""}
    assert fields["facts"]["metrics"] == {"loss": 0.0}
