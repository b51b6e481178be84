"""What a tolerance allows, and when a metric is back within it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from muniment.registry.tolerances import Measured, Tolerance, judge

numbers = st.floats(-1e6, 1e6)
sizes = st.floats(0.001, 1e3)


def tolerance(**fields: object) -> Tolerance:
    return Tolerance.model_validate({"metric": "m", **fields})


@pytest.mark.parametrize(
    ("fields", "baseline", "limit"),
    [
        ({"absolute": 0.02}, 0.9, 0.88),
        ({"absolute": 0.02, "direction": "lower"}, 0.9, 0.92),
        ({"relative": 0.1}, 200.0, 180.0),
        ({"relative": 0.1}, -200.0, -220.0),
        ({"relative": 0.1, "bound": 190.0}, 200.0, 190.0),
        ({"relative": 0.1, "bound": 210.0, "direction": "lower"}, 200.0, 210.0),
        ({"bound": 0.5}, None, 0.5),
        ({"absolute": 0.02}, None, None),
    ],
)
def test_the_worst_value_that_is_allowed(
    fields: dict[str, object], baseline: float | None, limit: float | None
) -> None:
    found = tolerance(**fields).limit(baseline)
    assert found == (None if limit is None else pytest.approx(limit))


@pytest.mark.parametrize("fields", [{}, {"absolute": 1, "relative": 1}, {"absolute": -1}, {"bound": float("nan")}])
def test_a_tolerance_that_says_nothing_or_two_things_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        tolerance(**fields)


@given(numbers, sizes, st.sampled_from(["higher", "lower"]))
def test_the_baseline_itself_always_passes_and_just_beyond_the_limit_nothing_does(
    baseline: float, size: float, direction: str
) -> None:
    one = tolerance(absolute=size, direction=direction)
    key = Measured("m")
    beyond = baseline - size * 1.01 if direction == "higher" else baseline + size * 1.01
    assert [gate.passed for gate in judge([one], {key: baseline}, {key: baseline})] == [True]
    assert [gate.passed for gate in judge([one], {key: baseline}, {key: beyond})] == [False]


def test_what_was_not_measured_fails_and_says_how_to_measure_it() -> None:
    (gate,) = judge([tolerance(absolute=0.1, slice="sevens")], {Measured("m", None, "sevens"): 1.0}, {Measured("m"): 1})
    assert (gate.passed, gate.actual) == (False, "not measured")
    assert "muniment evaluate" in (gate.hint or "")


@given(numbers, sizes, st.sampled_from(["higher", "lower"]), st.floats(0, 1), numbers)
@example(1.98e-130, 1.0, "lower", 1.0, 0.0)
def test_what_recovers_also_holds_and_the_baseline_recovers(
    baseline: float, size: float, direction: str, hysteresis: float, value: float
) -> None:
    one = tolerance(absolute=size, direction=direction, hysteresis=hysteresis)
    limit = one.limit(baseline)
    assert limit is not None
    assert one.recovers(baseline, limit, baseline)
    assert one.holds(value, limit) or not one.recovers(value, limit, baseline)


def test_a_metric_must_win_back_part_of_its_tolerance() -> None:
    one = tolerance(absolute=0.04, hysteresis=0.5)
    assert not one.recovers(0.87, 0.86, 0.9)
    assert one.recovers(0.8801, 0.86, 0.9)


@pytest.mark.parametrize("baseline", [None, 0.7])
@pytest.mark.parametrize(
    ("fields", "not_yet", "back"),
    [
        ({"bound": 0.8}, 0.8079, 0.8081),
        ({"bound": 0.8, "hysteresis": 1}, 0.8319, 0.8321),
        ({"bound": 0.8, "hysteresis": 0}, 0.7999, 0.8),
        ({"bound": 0.99}, 0.9924, 0.9926),
        ({"bound": 1}, 0.9999, 1),
        ({"bound": 200, "hysteresis": 0.5}, 203.9, 204.1),
        ({"bound": -200, "hysteresis": 0.5}, -196.1, -195.9),
        ({"bound": 0}, -0.0001, 0),
    ],
)
def test_a_bound_alone_must_be_passed_by_a_share_of_it(
    fields: dict[str, float], not_yet: float, back: float, baseline: float | None
) -> None:
    one = tolerance(**fields)
    below = None if baseline is None else fields["bound"] - 1  # a baseline that is itself beyond says no more
    assert not one.recovers(not_yet, fields["bound"], below)
    assert one.recovers(back, fields["bound"], below)
    ceiling = tolerance(**{**fields, "bound": -fields["bound"]}, direction="lower")
    mirrored = ceiling.recovers(-back, -fields["bound"], None)
    assert mirrored or 0 < fields["bound"] <= 1, "a floor of a share is nearer to its end than a ceiling"


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_floor_of_a_share_can_always_be_recovered(bound: float, hysteresis: float) -> None:
    assert tolerance(bound=bound, hysteresis=hysteresis).recovers(1.0 + 1e-12, bound, None)
