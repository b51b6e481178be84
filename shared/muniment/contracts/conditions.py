"""Wishes about an event's metrics and tags: `accuracy >= 0.95`, `env=production`, `reviewed`. Pure."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from muniment.contracts.errors import Rejected

_OPERATORS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION: Final = re.compile(
    r" {0,8}([^<>=!\x00-\x1f\x7f]{1,256})(>=|<=|==|!=|>|<) {0,8}"
    r"([+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,4})?) {0,8}"
)
_WORD: Final = re.compile(r"[^\x00-\x1f\x7f]{1,256}")


@dataclass(frozen=True, slots=True)
class Condition:
    """A metric of the event compared with a number; `str()` is the text it is written as."""

    metric: str
    operator: str
    number: float
    """Finite."""

    def met_by(self, metrics: Mapping[str, float]) -> bool:
        """Whether the event has the metric, as a finite number, and the comparison holds."""
        value = metrics.get(self.metric)
        return value is not None and math.isfinite(value) and _OPERATORS[self.operator](value, self.number)

    def __str__(self) -> str:
        return f"{self.metric} {self.operator} {self.number!r}"


@dataclass(frozen=True, slots=True)
class TagWish:
    """A tag that the event has, with this value where one is given."""

    key: str
    value: str | None = None

    def met_by(self, tags: Mapping[str, str]) -> bool:
        """Whether it is so."""
        return self.key in tags and (self.value is None or tags[self.key] == self.value)

    def __str__(self) -> str:
        return self.key if self.value is None else f"{self.key}={self.value}"


def condition(text: str) -> Condition:
    """`METRIC OPERATOR NUMBER`, read strictly: NaN, infinities and anything else are refused.

    Raises `Rejected` (`filter_invalid`).
    """
    found = _CONDITION.fullmatch(text)
    name = found[1].strip() if found else ""
    number = float(found[3]) if found else math.nan
    if found is None or not name or not math.isfinite(number):
        raise Rejected(
            "filter_invalid",
            "the filter is not valid: a metric's condition cannot be read",
            expected=f"METRIC OPERATOR NUMBER, such as accuracy>=0.95, with {' '.join(_OPERATORS)} and a finite number",
            actual=repr(text)[:200],
        )
    return Condition(name, found[2], number)


def tag_wish(text: str) -> TagWish:
    """`KEY` or `KEY=VALUE`, divided at the first `=`. Raises `Rejected` (`filter_invalid`)."""
    key, equals, value = text.partition("=")
    if not _WORD.fullmatch(key) or (value and not _WORD.fullmatch(value)):
        raise Rejected(
            "filter_invalid",
            "the filter is not valid: a tag cannot be read",
            expected="KEY or KEY=VALUE, each of at most 256 printable characters",
            actual=repr(text)[:200],
        )
    return TagWish(key, value if equals else None)
