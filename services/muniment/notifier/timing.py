"""When a subscription is told: at once or in digests, not in quiet hours, and of alerts that flap less often. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Final, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from muniment.contracts.errors import Rejected

DigestEvery = Literal["hourly", "daily"]
TIMING_FIELDS: Final = ("digest", "quiet_hours", "damp_minutes")
MAX_DAMP_MINUTES: Final = 24 * 60
_CLOCK: Final = r"([01][0-9]|2[0-3]):([0-5][0-9])"
_QUIET: Final = re.compile(rf"{_CLOCK}-{_CLOCK}(?: ([A-Za-z0-9_+/-]{{1,64}}))?")


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start` to before `end` by the clocks of a place; over midnight where `end` is the earlier one."""

    start: time
    end: time
    zone: str = "UTC"

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M} {self.zone}"

    def over_at(self, moment: datetime) -> datetime | None:
        """When the quiet hours that hold at `moment` are over, in UTC; None where none hold.

        It is the first moment to come at which clocks show the end and no quiet hours hold: where clocks are put
        forward over the end, it is as much later.
        """
        zone = _zone(self.zone)
        local = moment.astimezone(zone)
        if not self._holds(local):
            return None
        ends = (
            datetime.combine(local.date() + timedelta(days=days), self.end, zone).replace(fold=fold).astimezone(UTC)
            for days in range(3)
            for fold in (0, 1)
        )
        return min(end for end in ends if end > moment and not self._holds(end.astimezone(zone)))

    def _holds(self, local: datetime) -> bool:
        clock = local.time()
        if self.start < self.end:
            return self.start <= clock < self.end
        return clock >= self.start or clock < self.end


@dataclass(frozen=True, slots=True)
class Timing:
    """A subscription's wishes about time; none of them: each event at once."""

    digest: DigestEvery | None = None
    quiet_hours: QuietHours | None = None
    damp_minutes: int | None = None
    """For so long after an alert, others of the same model, metric, slice and data set are gathered."""

    def gathered_until(self, moment: datetime) -> datetime | None:
        """Until when what happens at `moment` is gathered; None where it is told at once."""
        until = None if self.digest is None else self._end_of_window(moment, self.digest)
        return (self.quiet_until(until or moment)) or until

    def quiet_until(self, moment: datetime) -> datetime | None:
        """When the quiet hours that hold at `moment` are over; None where none hold."""
        return None if self.quiet_hours is None else self.quiet_hours.over_at(moment)

    def fields(self) -> dict[str, Any]:
        """As stored, each None where it is not wished. `timing_of` reads it back."""
        quiet = None if self.quiet_hours is None else str(self.quiet_hours)
        return {"digest": self.digest, "quiet_hours": quiet, "damp_minutes": self.damp_minutes}

    def _end_of_window(self, moment: datetime, every: DigestEvery) -> datetime:
        if every == "hourly":
            return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        zone = _zone(self.quiet_hours.zone if self.quiet_hours else "UTC")
        tomorrow = moment.astimezone(zone).date() + timedelta(days=1)
        return datetime.combine(tomorrow, time(), zone).astimezone(UTC)


def timing_of(fields: Mapping[str, Any]) -> Timing:
    """The timing that JSON fields describe, checked. Raises `Rejected` (`timing_invalid`)."""
    if not isinstance(fields, Mapping):
        raise _invalid("the timing is no object", "an object", fields)
    digest, quiet, damp = (fields.get(name) for name in TIMING_FIELDS)
    if digest is not None and digest not in get_args(DigestEvery):
        raise _invalid("digest is not known", ", ".join(get_args(DigestEvery)), digest)
    if damp is not None and (type(damp) is not int or not 1 <= damp <= MAX_DAMP_MINUTES):
        raise _invalid("damp_minutes is out of range", f"1 to {MAX_DAMP_MINUTES}", damp)
    return Timing(digest, None if quiet is None else quiet_hours(quiet), damp)


def quiet_hours(text: object) -> QuietHours:
    """`22:00-07:00 Europe/Berlin`; without a zone it is UTC. Raises `Rejected` (`timing_invalid`)."""
    found = _QUIET.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise _invalid("quiet_hours cannot be read", "HH:MM-HH:MM ZONE, such as 22:00-07:00 Europe/Berlin", text)
    start, end = time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4]))
    if start == end:
        raise _invalid("quiet_hours begin when they end", "two different times; to be told nothing, pause it", text)
    zone = found[5] or "UTC"
    try:
        _zone(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise _invalid("the time zone is not known here", "a name of the IANA time zone database", zone) from error
    return QuietHours(start, end, zone)


@dataclass(frozen=True, slots=True)
class Damped:
    """What is remembered of an alert that was told: until when the next ones are gathered, and whether any were."""

    until: datetime
    held: bool = False


def damp(moment: datetime, window: timedelta, last: Damped | None) -> tuple[datetime | None, Damped]:
    """Until when an alert is gathered (None: it is told at once), and what to remember of it.

    An alert opens a window. Those within it are told together at its end, which opens the next one: so of what flaps
    one message a window goes out, and the last of them always does.
    """
    if last is None or moment >= last.until + (window if last.held else timedelta()):
        return None, Damped(moment + window)
    until = last.until if moment < last.until else last.until + window
    return until, Damped(until, held=True)


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _invalid(what: str, expected: str, actual: object) -> Rejected:
    return Rejected("timing_invalid", what, expected=expected, actual=repr(actual)[:200])
