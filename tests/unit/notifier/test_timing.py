"""When things are told: digests, quiet hours by the clocks of a place, and alerts that flap."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.errors import Rejected
from muniment.notifier.subscriptions import check_gathering
from muniment.notifier.timing import Damped, QuietHours, Timing, damp, quiet_hours, timing_of

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"]
moments = st.datetimes(
    datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)
)  # both changes of the clocks, many times
clocks = st.times().map(lambda clock: clock.replace(second=0, microsecond=0))
quiet = st.builds(QuietHours, clocks, clocks, st.sampled_from(ZONES)).filter(lambda hours: hours.start != hours.end)


def is_quiet(hours: QuietHours, moment: datetime) -> bool:
    """By the clock on the wall."""
    clock = moment.astimezone(ZoneInfo(hours.zone)).time()
    if hours.start < hours.end:
        return hours.start <= clock < hours.end
    return clock >= hours.start or clock < hours.end


@given(quiet, moments)
def test_quiet_hours_are_over_when_the_clock_says_so(hours: QuietHours, moment: datetime) -> None:
    over = hours.over_at(moment)
    assert (over is not None) == is_quiet(hours, moment)
    if over is not None:
        assert over > moment
        assert over - moment <= timedelta(days=2)
        assert not is_quiet(hours, over)
        assert over.utcoffset() == timedelta()


@given(st.builds(Timing, st.sampled_from([None, "hourly", "daily"]), st.none() | quiet), moments)
def test_what_is_gathered_is_told_later_and_never_in_quiet_hours(timing: Timing, moment: datetime) -> None:
    until = timing.gathered_until(moment)
    if until is None:
        assert timing.digest is None
        assert timing.quiet_until(moment) is None
        return
    assert until > moment
    assert until - moment <= timedelta(days=4)
    assert timing.quiet_until(until) is None


@given(
    st.builds(Timing, st.sampled_from([None, "hourly", "daily"]), st.none() | quiet, st.none() | st.integers(1, 1440))
)
def test_a_timing_survives_being_stored(timing: Timing) -> None:
    assert timing_of(timing.fields()) == timing


def test_a_night_in_berlin_by_summer_and_winter_time() -> None:
    hours = quiet_hours("22:00-07:00 Europe/Berlin")
    assert hours.over_at(datetime(2026, 7, 1, 20, 0, tzinfo=UTC)) == datetime(2026, 7, 2, 5, 0, tzinfo=UTC)
    assert hours.over_at(datetime(2026, 1, 1, 20, 59, tzinfo=UTC)) is None
    assert hours.over_at(datetime(2026, 1, 1, 21, 0, tzinfo=UTC)) == datetime(2026, 1, 2, 6, 0, tzinfo=UTC)
    assert hours.over_at(datetime(2026, 1, 2, 6, 0, tzinfo=UTC)) is None
    # the night in which clocks go from 2 to 3: it is an hour shorter
    assert hours.over_at(datetime(2026, 3, 28, 21, 30, tzinfo=UTC)) == datetime(2026, 3, 29, 5, 0, tzinfo=UTC)
    # an end that no clock shows that night
    assert quiet_hours("22:00-02:30 Europe/Berlin").over_at(datetime(2026, 3, 28, 22, tzinfo=UTC)) == datetime(
        2026, 3, 29, 1, 30, tzinfo=UTC
    )


def test_digests_close_at_the_hour_and_at_midnight_of_the_place() -> None:
    moment = datetime(2026, 7, 1, 10, 15, tzinfo=UTC)
    assert Timing("hourly").gathered_until(moment) == datetime(2026, 7, 1, 11, tzinfo=UTC)
    assert Timing("daily").gathered_until(moment) == datetime(2026, 7, 2, tzinfo=UTC)
    night = QuietHours(time(22), time(7), "Europe/Berlin")
    assert Timing("daily", night).gathered_until(moment) == datetime(2026, 7, 2, 5, tzinfo=UTC)
    assert Timing("hourly", night).gathered_until(moment) == datetime(2026, 7, 1, 11, tzinfo=UTC)
    assert Timing(None, night).gathered_until(moment) is None
    assert Timing("hourly").gathered_until(datetime(2026, 7, 1, 11, tzinfo=UTC)) == datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "22-07",
        "22:00-07:00 Mars/Olympus",
        "22:00-07:00 ../../etc/passwd",
        "22:00-07:00 /etc/localtime",
        "22:00-07:00 Europe",
        "24:00-07:00",
        "22:60-07:00",
        "22:00-22:00",
        "22:00-07:00 Europe/Berlin ",
        "٢٢:00-07:00",
        "2:00-07:00",
        5,
    ],
)
def test_what_are_no_quiet_hours_is_refused(text: object) -> None:
    with pytest.raises(Rejected) as caught:
        quiet_hours(text)
    assert caught.value.code == "timing_invalid"


@pytest.mark.parametrize(
    "fields",
    [{"digest": "weekly"}, {"damp_minutes": 0}, {"damp_minutes": 1441}, {"damp_minutes": True}, {"damp_minutes": 1.5}],
)
def test_what_is_no_timing_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(Rejected):
        timing_of(fields)


def test_what_a_format_cannot_tell_is_not_gathered_for_it() -> None:
    check_gathering(Timing(), {"format": "mlflow"})
    check_gathering(Timing("daily"), {"url": "https://a.test/"})
    for timing in (Timing("daily"), Timing(None, QuietHours(time(22), time(7))), Timing(damp_minutes=5)):
        with pytest.raises(Rejected):
            check_gathering(timing, {"format": "mlflow"})


@given(st.lists(st.integers(0, 400), max_size=40), st.integers(1, 60))
def test_of_what_flaps_one_message_a_window_goes_out_and_the_last_always_does(gaps: list[int], minutes: int) -> None:
    window = timedelta(minutes=minutes)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    last: Damped | None = None
    told: set[datetime] = set()
    for gap in gaps:
        moment += timedelta(minutes=gap / 10)
        until, last = damp(moment, window, last)
        told.add(until or moment)
        assert until is None or moment < until <= moment + window
    ordered = sorted(told)
    assert all(later - earlier >= window for earlier, later in itertools.pairwise(ordered))
    assert not gaps or ordered[-1] >= moment
