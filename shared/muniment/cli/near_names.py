"""Which name somebody may have meant. Pure.

Close matches as difflib finds them do not do here: a sweep's names (`exp/lr-1`, `exp/lr-2`) are close and all meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_LETTERS_A_SLIP: Final = 4
"""So many letters of a name may hold one slip: a letter more, less, another one, or two that changed places."""
_DIGITS: Final = re.compile(r"[0-9]+")


def meant(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` is most likely a slip of; None where none is. Names that differ in digits are two."""
    best: tuple[int, str] | None = None
    for one in known:
        if _DIGITS.findall(one) != _DIGITS.findall(name):
            continue
        last = max(len(one.rpartition("/")[2]), len(name.rpartition("/")[2]))
        most = last // _LETTERS_A_SLIP
        if abs(len(one) - len(name)) > most:
            continue
        slips = _slips(one.casefold(), name.casefold())
        if slips <= most and (best is None or (slips, one) < best):
            best = slips, one
    return best and best[1]


def _slips(one: str, other: str) -> int:
    """Optimal string alignment distance."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, last, row = row, before, [i, *([0] * len(other))]
        for j, facing in enumerate(other, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != facing))
            if i > 1 and j > 1 and letter == other[j - 2] and facing == one[i - 2]:
                row[j] = min(row[j], last[j - 2] + 1)
    return row[-1]
