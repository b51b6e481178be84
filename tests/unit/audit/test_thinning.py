"""Which checkpoints may go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from muniment.audit.thinning import Aged, surplus

START = datetime(2026, 5, 17, tzinfo=UTC)


@given(
    gaps=st.lists(st.integers(0, 40_000), min_size=1, max_size=60),
    hourly_after=st.integers(0, 200_000),
)
def test_of_each_hour_and_day_exactly_the_last_stays_and_more_walks_change_nothing(
    gaps: list[int], hourly_after: int
) -> None:
    at, made = START, []
    for size, gap in enumerate(gaps):
        at += timedelta(seconds=gap)
        made.append(Aged(size, at))
    since = START + timedelta(seconds=hourly_after)
    gone = set(surplus(made, since))
    left = [one for one in made if one.size not in gone]
    assert left[-1] == made[-1]
    slots = [("hour", one.at.date(), one.at.hour) if one.at >= since else ("day", one.at.date(), 0) for one in left]
    assert len(set(slots)) == len(slots)
    last = {}
    for one in made:
        last[("hour", one.at.date(), one.at.hour) if one.at >= since else ("day", one.at.date(), 0)] = one
    assert left == list(last.values())
    assert surplus(left, since) == []
