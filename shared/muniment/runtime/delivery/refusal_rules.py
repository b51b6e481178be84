"""How many entries refused requests make: a caller who hammers at a shut door must not fill the log. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

ONE_BY_ONE: Final = 20
"""Of one caller at one operation in one minute so many refusals have an entry each; the rest share one."""
WINDOW: Final = timedelta(minutes=1)


def minute_of(moment: datetime) -> datetime:
    """The minute that a refusal is counted in."""
    return moment.replace(second=0, microsecond=0)


def has_own_entry(count: int) -> bool:
    """Whether the `count`-th refusal (from 1) of its minute has an entry of its own."""
    return count <= ONE_BY_ONE


def without_entry(count: int) -> int:
    """Of `count` refusals of a minute, how many have none and are told in one entry together."""
    return max(0, count - ONE_BY_ONE)


def ended_before(now: datetime) -> datetime:
    """Minutes that began before this are over, also for a process whose clock is somewhat behind."""
    return minute_of(now) - WINDOW
