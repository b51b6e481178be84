"""Ranges of semantic versions, in the notation that npm's users know (github.com/npm/node-semver, "Ranges"). Pure.

^1.2   ~1.2.3   1.x   1.2   >=1.2 <2   1.2 - 1.4   ^1.2 || ^3   *

A prerelease is in a range only where a comparator names a prerelease of the same three numbers: `^1.2` never leads to
`1.3.0-rc.1`, and `>=1.3.0-rc.1` leads to `1.3.0-rc.2` but not to `1.4.0-rc.1`. Stricter than npm: no `v` before a
version, no empty alternative.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from muniment.contracts.errors import Rejected
from muniment.contracts.semver import BUILD, PRERELEASE, Semver

MAX_LENGTH: Final = 200
"""Characters of a range."""

Operator = Literal[">=", ">", "<", "<=", "="]

_PART: Final = r"(0|[1-9][0-9]{0,99}|[xX*])"
_PARTIAL: Final = rf"{_PART}(?:\.{_PART}(?:\.{_PART}(?:-({PRERELEASE}))?(?:\+{BUILD})?)?)?"
_COMPARATOR: Final = re.compile(rf"(\^|~|>=|<=|>|<|=)?[ ]*{_PARTIAL}(?:[ ]+|$)")
_HYPHEN: Final = re.compile(rf"{_PARTIAL}[ ]+-[ ]+{_PARTIAL}")
_ZERO: Final = Semver(0, 0, 0)
_LOWEST: Final = ("0",)
"""The prerelease before all others: `<2.0.0-0` is below everything that is called 2.0.0."""


@dataclass(frozen=True, slots=True)
class Comparator:
    """One condition."""

    operator: Operator
    version: Semver

    def holds(self, key: bytes) -> bool:
        """Whether a version with this precedence fits."""
        own = self.version.precedence
        if self.operator == "=":
            return key == own
        if self.operator in {">", ">="}:
            return key > own or (self.operator == ">=" and key == own)
        return key < own or (self.operator == "<=" and key == own)


@dataclass(frozen=True, slots=True)
class SemverRange:
    """A parsed range: alternatives, each of comparators that all must hold."""

    alternatives: tuple[tuple[Comparator, ...], ...]
    names_prerelease: bool
    """Whether a prerelease is written in it; where not, none can be in it."""

    def __contains__(self, version: Semver) -> bool:
        key = version.precedence
        return any(
            all(one.holds(key) for one in comparators)
            and (not version.prerelease or any(_names(one, version) for one in comparators))
            for comparators in self.alternatives
        )

    def hull(self) -> tuple[bytes, bytes]:
        """Two keys of precedence that all versions of the range lie between, both included: where to look for them."""
        lows, highs = [], []
        for comparators in self.alternatives:
            lows.append(
                max((one.version.precedence for one in comparators if one.operator in {">=", ">", "="}), default=b"")
            )
            ends = [one.version.precedence for one in comparators if one.operator in {"<=", "<", "="}]
            highs.append(min(ends, default=b"\xff"))
        return min(lows), max(highs)


def parse_range(text: str) -> SemverRange:
    """The range that a text is. Raises `Rejected` (`range_invalid`)."""
    if len(text) > MAX_LENGTH:
        raise _invalid(text)
    alternatives = []
    names_prerelease = False
    for part in text.split("||"):
        comparators, named = _alternative(part.strip(" "), text)
        alternatives.append(comparators)
        names_prerelease = names_prerelease or named
    return SemverRange(tuple(alternatives), names_prerelease)


def _names(comparator: Comparator, version: Semver) -> bool:
    return bool(comparator.version.prerelease) and comparator.version.core == version.core


@dataclass(frozen=True, slots=True)
class _Partial:
    """A version of which the end may be left open: `numbers` has 0 to 3 of them."""

    numbers: tuple[int, ...]
    prerelease: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        return len(self.numbers) == 3

    @property
    def start(self) -> Semver:
        """The first version that it may mean."""
        major, minor, patch = (*self.numbers, 0, 0, 0)[:3]
        return Semver(major, minor, patch, self.prerelease)

    def end(self, kept: int) -> Semver:
        """What is below every next version that differs in the number at this place: `1.2.3` kept to 1 is `2.0.0-0`."""
        numbers = [*self.numbers[:kept], 0, 0, 0][:3]
        numbers[kept - 1] += 1
        return Semver(numbers[0], numbers[1], numbers[2], _LOWEST)


def _partial(major: str, minor: str | None, patch: str | None, prerelease: str | None) -> _Partial:
    numbers: list[int] = []
    for part in (major, minor, patch):
        if part is None or part in "xX*":
            break  # what stands behind an open place is open, too
        numbers.append(int(part))
    whole = len(numbers) == 3
    return _Partial(tuple(numbers), tuple(prerelease.split(".")) if prerelease and whole else ())


def _alternative(text: str, whole: str) -> tuple[tuple[Comparator, ...], bool]:
    if not text:
        raise _invalid(whole)
    hyphen = _HYPHEN.fullmatch(text)
    if hyphen is not None:
        first, last = _partial(*hyphen.groups()[:4]), _partial(*hyphen.groups()[4:])
        return (*_comparators(">=", first), *_comparators("<=", last)), bool(first.prerelease or last.prerelease)
    found: list[Comparator] = []
    named = False
    place = 0
    while place < len(text):
        match = _COMPARATOR.match(text, place)
        if match is None:
            raise _invalid(whole)
        partial = _partial(*match.groups()[1:])
        found += _comparators(match.group(1) or "", partial)
        named = named or bool(partial.prerelease)
        place = match.end()
    return tuple(found), named


def _comparators(operator: str, partial: _Partial) -> list[Comparator]:
    """What an operator before a partial version means."""
    given = len(partial.numbers)
    if not given:  # `*`: anything, but nothing is above or below everything
        nothing = operator in {"<", ">"}
        return [Comparator("<", Semver(0, 0, 0, _LOWEST)) if nothing else Comparator(">=", _ZERO)]
    at_least = Comparator(">=", partial.start)
    if operator == "^":  # the first number that is not zero stays
        first = next((place for place, number in enumerate(partial.numbers, 1) if number), given)
        return [at_least, Comparator("<", partial.end(first))]
    if operator == "~":  # major and minor stay, so far as they are given
        return [at_least, Comparator("<", partial.end(min(given, 2)))]
    if operator in {"", "="}:
        if partial.is_whole:
            return [Comparator("=", partial.start)]
        return [at_least, Comparator("<", partial.end(given))]
    if operator == ">=":
        return [at_least]
    if operator == ">":
        return [Comparator(">", partial.start) if partial.is_whole else Comparator(">=", _after(partial))]
    if operator == "<":
        start = partial.start
        return [Comparator("<", start if partial.is_whole else Semver(*start.core, _LOWEST))]
    return [Comparator("<=", partial.start) if partial.is_whole else Comparator("<", partial.end(given))]


def _after(partial: _Partial) -> Semver:
    return Semver(*partial.end(len(partial.numbers)).core)


def _invalid(text: str) -> Rejected:
    return Rejected(
        "range_invalid",
        "the range of semantic versions is not understood",
        expected="such as ^1.2, ~1.2.3, 1.x, '>=1.2 <2', '1.2 - 1.4', '^1 || ^3' or *, "
        f"at most {MAX_LENGTH} characters",
        actual=repr(text[:220]),
    )
