"""What measurements are, and how those of strangers are read: each bad row is named with what is wrong in it. Pure."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

from pydantic_core import from_json

from muniment.contracts import strict_json
from muniment.contracts.errors import Conflict, Rejected, TooLarge
from muniment.contracts.ids import free_text
from muniment.contracts.model import rfc3339
from muniment.registry.tolerances import Measured

Kind = Literal["evaluation", "observation"]
"""`evaluation`: measured on purpose, counts for promotion. `observation`: seen in production, does not."""

MAX_POINTS: Final = 100_000
MAX_BYTES: Final = 32 * 1024 * 1024
MAX_LINE: Final = 4096
LARGEST: Final = 1e300
"""No metric is larger: there is room below the largest double (1.8e308) for differences and sums of values."""
CLOCKS_APART: Final = timedelta(minutes=5)
"""How far a time may lie in the future: clocks differ."""

_FIELDS: Final = {"metric", "value", "unit", "dataset", "slice", "at"}
_BATCHES: Final = uuid.UUID("7d7f6f52-0a38-5a3e-9d52-5b2c0d1d4b13")


class Point(NamedTuple):
    """One measured value. `at` is None where the caller names no time: the time of recording."""

    measured: Measured
    value: float
    unit: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """The measurements of one request, in order, and the SHA-256 of its body."""

    ref: str
    points: list[Point]
    sha256: str


def point_of(value: object, row: int) -> Point:
    """The JSON object of one row as a point. `row` counts from 1.

    Raises `Rejected`: `measurement_invalid`, `metric_value_invalid`, `measurement_time_invalid`, `text_invalid`.
    """
    if not isinstance(value, dict):
        raise _bad(row, "is no JSON object", actual=type(value).__name__)
    if unknown := value.keys() - _FIELDS:
        raise _bad(row, "has a field that is not known", expected=", ".join(sorted(_FIELDS)), actual=min(unknown))
    metric = _word(value, "metric", row)
    if metric is None:
        raise _bad(row, "names no metric", expected='{"metric": NAME, "value": NUMBER}')
    measured = Measured(metric, _word(value, "dataset", row), _word(value, "slice", row))
    return Point(measured, _number(value.get("value"), row), _word(value, "unit", row), _time(value.get("at"), row))


def point_of_line(line: bytes, row: int) -> Point:
    """One line of newline-delimited JSON as a point. Raises as `point_of`, and the codes of JSON with the row named."""
    try:
        value = strict_json.loads(line, max_bytes=MAX_LINE, max_depth=4)
    except Rejected as error:
        named = f"row {row}: {error.message}"
        raise type(error)(error.code, named, expected=error.expected, actual=error.actual) from error
    return point_of(value, row)


class Lines:
    """Reads lines of newline-delimited JSON as points, in their order; for uploads of many.

    A line that is plain (a flat object without a backslash, of a series seen before) takes a short way through a faster
    JSON parser; whatever is not plain, everything wrong included, goes through `point_of_line`, which alone decides.
    """

    def __init__(self) -> None:
        self._rows = 0
        self._series: dict[tuple[Any, ...], Point] = {}

    def point(self, line: bytes) -> Point:
        """The next line. Raises as `point_of_line`."""
        self._rows += 1
        value = _plain_object(line)
        if value is None:
            return point_of_line(line, self._rows)
        try:
            like = self._series.get(_series(value))
        except TypeError:  # an array or an object where a text belongs
            return point_of_line(line, self._rows)
        number = value.get("value")
        # For the exact type: `true` is an instance of int.
        if like is None or not (type(number) is float or type(number) is int) or not abs(number) <= LARGEST:
            return self._learn(line, value)
        if type(number) is int and abs(number) > strict_json.MAX_SAFE_INTEGER:
            return point_of_line(line, self._rows)
        return Point(like.measured, float(number), like.unit, _time(value.get("at"), self._rows))

    def _learn(self, line: bytes, value: dict[str, Any]) -> Point:
        point = point_of_line(line, self._rows)
        self._series[_series(value)] = point
        return point


def _series(value: Mapping[str, Any]) -> tuple[Any, ...]:
    get = value.get
    return get("metric"), get("dataset"), get("slice"), get("unit")


def _plain_object(line: bytes) -> dict[str, Any] | None:
    """A flat object without escapes, unknown fields or names that appear twice; None where the line is none, or longer
    than a line may be.

    Without a backslash every quote begins or ends a string: there are as many as the names and texts that were kept
    have, unless a name appeared twice.
    """
    if len(line) > MAX_LINE or b"\\" in line:
        return None
    try:
        value = from_json(line, allow_inf_nan=False)
    except ValueError:  # also a text that is not UTF-8
        return None
    if not isinstance(value, dict) or not value.keys() <= _FIELDS:
        return None
    texts = len(value)
    for one in value.values():
        texts += isinstance(one, str)
    return value if line.count(b'"') == 2 * texts else None


def check_count(count: int) -> None:
    """Raises `Rejected` (`measurements_empty`) and `TooLarge` (`measurements_too_many`)."""
    if not count:
        raise Rejected("measurements_empty", "no measurement is given", expected=f"1 to {MAX_POINTS}", actual=0)
    if count > MAX_POINTS:
        raise TooLarge(
            "measurements_too_many",
            "a request holds too many measurements",
            expected=f"<= {MAX_POINTS}",
            actual=count,
            hint="send them in several requests",
        )


def check_times(points: Iterable[Point], committed_at: datetime, now: datetime) -> None:
    """Raises `Rejected`: `measured_before_version` and `measured_in_future`, naming the row."""
    latest = now + CLOCKS_APART
    for row, point in enumerate(points, 1):
        if point.at is None:
            continue
        if point.at > latest:
            raise Rejected(
                "measured_in_future",
                f"row {row} ({point.measured}) was measured in the future",
                expected=f"<= {rfc3339(latest)}",
                actual=rfc3339(point.at),
                hint="is this machine's clock right?",
            )
        if point.at < committed_at:
            raise Rejected(
                "measured_before_version",
                f"row {row} ({point.measured}) was measured before the version was there",
                expected=f">= {rfc3339(committed_at)}",
                actual=rfc3339(point.at),
            )


def units_of(points: Iterable[Point], known: Mapping[str, str]) -> dict[str, str]:
    """The unit of each metric that has one, those of `known` among them: a metric keeps the unit it got first.

    Raises `Conflict` (`unit_differs`), naming the row.
    """
    units = dict(known)
    for row, point in enumerate(points, 1):
        if point.unit is None:
            continue
        unit = units.setdefault(point.measured.metric, point.unit)
        if unit != point.unit:
            raise Conflict(
                "unit_differs",
                f"row {row}: {point.measured.metric} has another unit in this model",
                expected=unit,
                actual=point.unit,
                hint=f"convert the value to {unit}, or name the metric otherwise",
            )
    return units


def batch_id(operator: str, model: str, kind: Kind, ref: str, key: str | None) -> uuid.UUID:
    """The id of an upload: the same operator, model, kind, reference and key give the same one; no key, a new one."""
    if key is None:
        return uuid.uuid4()
    name = "\n".join((operator, model.lower(), kind, ref, key))
    return uuid.uuid5(_BATCHES, hashlib.sha256(name.encode()).hexdigest())


def _number(value: Any, row: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise Rejected(
            "metric_value_invalid",
            f"row {row}: the value is no number that can be kept",
            expected=f"a finite number of at most {LARGEST:g}",
            actual=repr(value)[:100],
        )
    return float(value)


def _time(value: Any, row: int) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
        problem = "has no offset"
    except (TypeError, ValueError, OverflowError):
        problem = "is not understood"
    raise Rejected(
        "measurement_time_invalid",
        f"row {row}: the time {problem}",
        expected="RFC 3339 with Z or an offset, for example 2026-01-02T03:04:05Z",
        actual=repr(value)[:100],
    )


def _word(value: Mapping[str, Any], field: str, row: int) -> str | None:
    text = value.get(field)
    if text is None:
        return None
    if not isinstance(text, str) or not text:
        raise _bad(row, f"has no usable {field}", expected="a text", actual=repr(text)[:100])
    try:
        return _checked(text)
    except Rejected as error:
        told = f"row {row}: {field}: {error.message}"
        raise Rejected(error.code, told, expected=error.expected, actual=error.actual) from error


@lru_cache(maxsize=4096)
def _checked(text: str) -> str:
    return free_text(text, limit=256, field="the text")


def _bad(row: int, message: str, *, expected: str | None = None, actual: object = None) -> Rejected:
    return Rejected("measurement_invalid", f"row {row} {message}", expected=expected, actual=actual)
