"""No refusal is lost in number, and a minute has a bounded number of entries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from muniment.runtime.delivery.refusal_rules import (
    ONE_BY_ONE,
    WINDOW,
    ended_before,
    has_own_entry,
    minute_of,
    without_entry,
)


@given(st.integers(1, 10_000))
def test_own_entries_and_the_sum_make_the_number(count: int) -> None:
    own = sum(has_own_entry(number) for number in range(1, count + 1))
    assert own + without_entry(count) == count
    assert own <= ONE_BY_ONE


@given(st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)), st.floats(0, 59.9))
def test_a_minute_is_told_of_when_no_refusal_can_join_it_any_more(now: datetime, behind: float) -> None:
    assert minute_of(now) <= now < minute_of(now) + WINDOW
    assert minute_of(now - timedelta(seconds=behind)) >= ended_before(now), (
        "a clock that is behind by less than a minute"
    )
