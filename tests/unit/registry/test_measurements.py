"""How the measurements of strangers are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.errors import MunimentError, Rejected
from muniment.registry.measurements import (
    MAX_POINTS,
    Lines,
    Point,
    batch_id,
    check_count,
    check_times,
    point_of,
    point_of_line,
    units_of,
)
from muniment.registry.tolerances import Measured

GOOD: dict[str, Any] = {"metric": "accuracy", "value": 0.5}
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
fields = st.sampled_from(["metric", "value", "unit", "dataset", "slice", "at", "more"])


def test_a_row_is_read_with_all_its_fields() -> None:
    line = b'{"metric": "latency", "value": 3, "unit": "ms", "dataset": "live", "slice": "de", "at": "2026-01-02T04:00+01:00"}'
    wanted = Point(Measured("latency", "live", "de"), 3.0, "ms", datetime(2026, 1, 2, 3, tzinfo=UTC))
    assert point_of_line(line, 1) == wanted


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"value": float("nan")}, "metric_value_invalid"),
        ({"value": float("inf")}, "metric_value_invalid"),
        ({"value": 1.1e300}, "metric_value_invalid"),
        ({"value": True}, "metric_value_invalid"),
        ({"value": None}, "metric_value_invalid"),
        ({"metric": ""}, "measurement_invalid"),
        ({"metric": None}, "measurement_invalid"),
        ({"slice": ""}, "measurement_invalid"),
        ({"metric": "a\u202eb"}, "text_invalid"),
        ({"dataset": "x" * 257}, "text_invalid"),
        ({"step": 3}, "measurement_invalid"),
        ({"at": "yesterday"}, "measurement_time_invalid"),
        ({"at": "2026-01-02T03:04:05"}, "measurement_time_invalid"),
        ({"at": 5}, "measurement_time_invalid"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "measurement_time_invalid"),
    ],
)
def test_a_bad_row_is_refused_by_its_number(changed: dict[str, Any], code: str) -> None:
    with pytest.raises(Rejected, match="row 17") as caught:
        point_of({**GOOD, **changed}, 17)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "line", [b'{"value": 1e999, "metric": "m"}', b"{", b"[]", b"\xff", b'{"metric": "m", "metric": "n"}']
)
def test_a_bad_line_is_refused_by_its_number(line: bytes) -> None:
    with pytest.raises(Rejected, match="row 3"):
        point_of_line(line, 3)


@given(st.dictionaries(fields, json_values) | json_values)
def test_no_json_value_does_more_than_be_refused(value: Any) -> None:
    try:
        point = point_of(value, 1)
    except MunimentError:
        return
    assert isinstance(point.value, float)
    assert json.dumps(point.value, allow_nan=False)


_NUMBERS = [
    "1",
    "-0.5",
    "1e-3",
    "9007199254740991",
    "9007199254740992",
    "1e301",
    "1e999",
    "NaN",
    "true",
    '"1"',
    "null",
    "[1]",
]
_TEXTS = ['"a"', '"a"', '"b"', '"\\u0061"', '"\\ud800"', '"e\u0301"', '""', "null", "1", "[]", '"x\x00"']
_MEMBERS = st.one_of(
    st.tuples(st.just("value"), st.sampled_from(_NUMBERS)),
    st.tuples(st.sampled_from(["metric", "dataset", "slice", "unit"]), st.sampled_from(_TEXTS)),
    st.tuples(st.just("at"), st.sampled_from(['"2026-01-02T03:04:05Z"', '"2026-01-02"', "1", "null"])),
    st.tuples(st.sampled_from(["metrics", "val\\u0075e"]), st.just("1")),
)


def outcome(read: Callable[[bytes, int], Point], line: bytes, row: int) -> object:
    try:
        return read(line, row)
    except MunimentError as error:
        return error.code, str(error), error.expected, error.actual


@given(st.lists(st.lists(_MEMBERS, max_size=6), max_size=8))
def test_the_short_way_reads_what_the_long_one_does_and_refuses_with_its_words(
    rows: list[list[tuple[str, str]]],
) -> None:
    lines = Lines()
    good = ("metric", '"a"'), ("value", "1")
    for row, members in enumerate([good, *rows, *[[*good, *members] for members in rows]], 1):
        line = ("{" + ",".join(f'"{name}":{value}' for name, value in members) + "}").encode()
        assert outcome(lambda text, _: lines.point(text), line, row) == outcome(point_of_line, line, row), line


def test_times_are_between_the_version_and_soon() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    point = point_of(GOOD, 1)

    def check(at: datetime) -> None:
        check_times([point, Point(point.measured, 1.0, None, at)], now - timedelta(days=1), now)

    check(now + timedelta(minutes=4))
    check(now - timedelta(days=1))
    for at, code in (
        (now + timedelta(minutes=6), "measured_in_future"),
        (now - timedelta(days=1, seconds=1), "measured_before_version"),
    ):
        with pytest.raises(Rejected, match="row 2") as caught:
            check(at)
        assert caught.value.code == code


def test_a_metric_keeps_its_first_unit_and_a_value_without_one_has_it() -> None:
    def rows(*units: str | None) -> list[Point]:
        return [Point(Measured("latency"), 1.0, unit) for unit in units]

    assert units_of(rows(None, "ms", None), {}) == {"latency": "ms"}
    assert units_of(rows(None), {}) == {}
    for points, known in ((rows("ms", "s"), {}), (rows("ms", "s"), {"latency": "ms"})):
        with pytest.raises(Rejected, match="row 2") as caught:
            units_of(points, known)
        assert (caught.value.code, caught.value.expected) == ("unit_differs", "ms")


def test_how_many_a_request_may_hold() -> None:
    check_count(MAX_POINTS)
    for count in (0, MAX_POINTS + 1):
        with pytest.raises(Rejected):
            check_count(count)


def test_one_key_is_another_batch_for_another_operator_kind_or_reference() -> None:
    ids = {
        batch_id("ada", "m", "evaluation", "m/1", "k"),
        batch_id("bob", "m", "evaluation", "m/1", "k"),
        batch_id("ada", "m", "observation", "m/1", "k"),
        batch_id("ada", "m", "evaluation", "m/2", "k"),
        batch_id("ada", "m", "evaluation", "m/1", None),
    }
    assert len(ids) == 5
    assert batch_id("ada", "M", "evaluation", "m/1", "k") in ids, "models are one whatever their case"
