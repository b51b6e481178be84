"""References: how people and programs name a version, everywhere the same (CLI, SDK, HTTP, dashboard).

digits                     what production runs: digits@baseline
digits@main                the head of a branch
digits@exp/dropout         the head of an experiment's branch
digits@champion            a pointer
digits@1.2.0               a release
digits@^1.2                the highest release in a range (contracts/semver_range.py), never a prerelease unless named
digits/3                   the third version of the model
digits@sha256:ab12cd34     a version id, or a prefix of it with 8 or more digits that fits no other
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from muniment.contracts.errors import Rejected
from muniment.contracts.ids import ModelName, branch_name, model_name
from muniment.contracts.semver import parse_semver
from muniment.contracts.semver_range import parse_range

BASELINE: Final = "baseline"
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{8,64}")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}")
_RANGE: Final = re.compile(r"[0-9^~<>=*].*|.*[|].*", re.DOTALL)
"""What no branch can be called."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference. `value` is the name, the number, the release, the range, or `sha256:` and digits."""

    model: ModelName
    kind: Literal["name", "number", "digest", "release", "range"]
    value: str

    def __str__(self) -> str:
        return f"{self.model}/{self.value}" if self.kind == "number" else f"{self.model}@{self.value}"


def parse_reference(text: str) -> Reference:
    """The reference that a text is. Raises `Rejected` (`reference_invalid`, `model_name_invalid`)."""
    if len(text) > 300:
        raise _invalid(text)
    model, at, name = text.partition("@")
    if not at:
        model, slash, number = text.partition("/")
        if not slash:
            return Reference(model_name(model), "name", BASELINE)
        if not _NUMBER.fullmatch(number):
            raise _invalid(text)
        return Reference(model_name(model), "number", number)
    checked = model_name(model)
    if _DIGEST.fullmatch(name):
        return Reference(checked, "digest", name)
    if _RANGE.fullmatch(name):
        return _release(checked, name)
    if name == BASELINE:
        return Reference(checked, "name", name)
    try:
        return Reference(checked, "name", branch_name(name))
    except Rejected as error:
        raise _invalid(text) from error


def _release(model: ModelName, name: str) -> Reference:
    try:
        parse_semver(name)
        return Reference(model, "release", name)
    except Rejected:
        pass  # then it is a range
    try:
        parse_range(name)
    except Rejected as error:
        raise _invalid(f"{model}@{name}") from error
    return Reference(model, "range", name)


def _invalid(text: str) -> Rejected:
    return Rejected(
        "reference_invalid",
        "the reference is not understood",
        expected="MODEL, MODEL@BRANCH, MODEL@POINTER, MODEL@1.2.0, MODEL@^1.2, MODEL/NUMBER or MODEL@sha256:DIGITS "
        "(8 or more)",
        actual=repr(text[:200]),
    )
