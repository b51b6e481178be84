"""Semantic versions (SemVer 2.0.0, semver.org): strict parsing, and a key of bytes that sorts as section 11 says. Pure.

A release is named by one. Ranges over them are in `contracts/semver_range.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from muniment.contracts.errors import Rejected

MAX_LENGTH: Final = 128
"""Characters of a version. The specification sets no limit and advises one."""

_NUMERIC: Final = r"0|[1-9][0-9]*"
_IDENTIFIER: Final = rf"(?:{_NUMERIC}|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
PRERELEASE: Final = rf"{_IDENTIFIER}(?:\.{_IDENTIFIER})*"
BUILD: Final = r"[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*"
# The expression that semver.org publishes, with classes that are ASCII alone.
_SEMVER: Final = re.compile(rf"({_NUMERIC})\.({_NUMERIC})\.({_NUMERIC})(?:-({PRERELEASE}))?(?:\+({BUILD}))?")
_SLOPPY: Final = re.compile(r"[vV=]*\s*([0-9]{1,9})(?:\.([0-9]{1,9}))?(?:\.([0-9]{1,9}))?([-+][0-9A-Za-z.+-]+)?")

# Marks of the key's parts. A part that ends comes before one that goes on; a number before a word; nothing behind the
# three numbers after every prerelease.
_END: Final = b"\x00"
_NUMBER: Final = b"\x01"
_WORD: Final = b"\x02"
_NO_PRERELEASE: Final = b"\xff"


@dataclass(frozen=True, slots=True)
class Semver:
    """A semantic version. `prerelease` and `build` are its dot-separated identifiers."""

    major: int
    minor: int
    patch: int
    prerelease: tuple[str, ...] = ()
    build: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.patch}"
        if self.prerelease:
            text += "-" + ".".join(self.prerelease)
        return text + "+" + ".".join(self.build) if self.build else text

    @property
    def core(self) -> tuple[int, int, int]:
        """The three numbers."""
        return self.major, self.minor, self.patch

    @property
    def precedence(self) -> bytes:
        """A key: two versions compare (SemVer 2.0.0, section 11) as their keys do byte by byte. Build does not count.

        A number is its count of digits and the digits, so that a longer one is greater; a word ends in a zero byte,
        which no identifier has, so that a word comes before those that begin with it.
        """
        key = b"".join(_number(number) for number in self.core)
        if not self.prerelease:
            return key + _NO_PRERELEASE
        return key + b"".join(_identifier(one) for one in self.prerelease) + _END


def parse_semver(text: str) -> Semver:
    """The semantic version that a text is. Raises `Rejected` (`semver_invalid`), with a guess at what was meant."""
    match = _SEMVER.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if match is None:
        raise Rejected(
            "semver_invalid",
            "this is no semantic version (SemVer 2.0)",
            expected="MAJOR.MINOR.PATCH: three numbers without leading zeros and without a v before them, then "
            f"-PRERELEASE and +BUILD if you like; at most {MAX_LENGTH} characters",
            actual=repr(text[:140]),
            hint=_guess(text),
        )
    major, minor, patch, prerelease, build = match.groups()
    return Semver(
        int(major),
        int(minor),
        int(patch),
        tuple(prerelease.split(".")) if prerelease else (),
        tuple(build.split(".")) if build else (),
    )


def _guess(text: str) -> str:
    match = _SLOPPY.fullmatch(text.strip()) if len(text) <= MAX_LENGTH else None
    if match is not None:
        major, minor, patch, rest = match.groups()
        guess = f"{int(major)}.{int(minor or 0)}.{int(patch or 0)}{rest or ''}"
        if _SEMVER.fullmatch(guess):
            return f"write {guess}"
    return "for example 1.2.0, or 1.3.0-rc.1 for one that is not to be stable yet"


def _number(value: int) -> bytes:
    digits = str(value).encode()
    return bytes([len(digits)]) + digits


def _identifier(text: str) -> bytes:
    # The parser has refused numbers with leading zeros, so digits alone are a number in its only spelling.
    return _NUMBER + _number(int(text)) if text.isdigit() else _WORD + text.encode() + _END
