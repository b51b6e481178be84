"""Tensors by the part of the network they are of: `encoder.layer.3.attention.weight` of `encoder.layer.3`. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal

from muniment.registry.history.fields import Section

MAX_GROUPS: Final = 24
"""Groups that are looked at one by one; where more have changed, larger ones are made."""
Level = Literal["layer", "part", "whole"]
LEVELS: Final[tuple[Level, ...]] = ("layer", "part", "whole")
"""Up to the first number in the name; what stands before the number; the first word alone."""
_WORDS: Final = re.compile(r"[./]")
_NUMBER: Final = re.compile(r"[./](\d+)(?=[./]|$)")


@lru_cache(maxsize=65_536)
def group_of(name: str, level: Level = "layer") -> str:
    """The group of a tensor. Words of a name are parted by `.` or `/`; a name without a number loses its last word.

    A file's path before the name (`PATH:NAME`, where several files have the name) stays.
    """
    path, colon, own = name.rpartition(":")
    if level == "whole":
        return path + colon + _WORDS.split(own, maxsplit=1)[0]
    if found := _NUMBER.search(own):
        return path + colon + own[: found.end() if level == "layer" else found.start()]
    end = max(own.rfind("."), own.rfind("/"))
    return path + colon + (own[:end] if end > 0 else own)


def grouped(tensors: Section, level: Level) -> dict[str, str]:
    """A digest for each group, of the names and digests of its tensors: another one when any of them changed."""
    held: dict[str, list[str]] = {}
    for name in sorted(tensors):
        held.setdefault(group_of(name, level), []).append(f"{name}\n{tensors[name]}\n")
    return {group: f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}" for group, lines in held.items()}


def finest(before: Section, after: Section) -> tuple[Level, dict[str, str], dict[str, str]]:
    """The finest level at which at most `MAX_GROUPS` groups differ (else the coarsest), and both sides at it."""
    for level in LEVELS:
        one, other = grouped(before, level), grouped(after, level)
        if len(differing(one, other)) <= MAX_GROUPS:
            break
    return level, one, other


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The groups that differ, in the order of their names: layer 2 before layer 10."""
    return sorted((name for name in {*one, *other} if one.get(name) != other.get(name)), key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in _WORDS.split(name)]
