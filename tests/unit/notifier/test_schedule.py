"""What an attempt leads to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.notifier.schedule import DELAYS_S, RETRY_AFTER_MAX_S, Attempt, judge, retry_after_s

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def attempt(status: int | None = None, *, error: str | None = None, after: float | None = None, ms: int = 5) -> Attempt:
    return Attempt(NOW, ms, status=status, error=error, retry_after_s=after)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_success(status: int) -> None:
    verdict = judge(attempt(status), tries=1, scale=1, jitter=0.5)
    assert (verdict.state, verdict.delay_s, verdict.disable) == ("delivered", None, False)


@pytest.mark.parametrize("status", [100, 199, 300, 301, 302, 304, 307, 308, 400, 401, 404, 408, 429, 500, 502, 599])
def test_nothing_else_is(status: int) -> None:
    assert judge(attempt(status), tries=1, scale=1, jitter=0.5).state == "pending"


def test_gone_disables_and_gives_up_at_once() -> None:
    verdict = judge(attempt(410), tries=1, scale=1, jitter=0.5)
    assert (verdict.state, verdict.disable) == ("dead", True)


def test_a_refusal_for_good_gives_up_at_once_and_nothing_to_send_is_done() -> None:
    refused = judge(Attempt(NOW, 1, status=550, permanent=True), tries=1, scale=1, jitter=0.5)
    assert (refused.state, refused.disable) == ("dead", False)
    skipped = Attempt(NOW, 1, detail="nothing", skipped=True)
    assert judge(skipped, tries=1, scale=1, jitter=0.5).state == "delivered"
    assert skipped.trouble is None


def test_the_schedule_is_that_of_standard_webhooks_and_then_ends() -> None:
    waits = [judge(attempt(500), tries=tries, scale=1, jitter=0.5).delay_s for tries in range(1, 10)]
    assert waits == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    assert judge(attempt(error="timeout"), tries=10, scale=1, jitter=0.5).state == "dead"
    assert 75 * 3600 < sum(DELAYS_S) < 76 * 3600


@given(st.integers(1, 9), st.floats(0, 0.999999), st.floats(0.0001, 10))
def test_jitter_spreads_by_a_tenth_and_scale_multiplies(tries: int, jitter: float, scale: float) -> None:
    delay = judge(attempt(503), tries=tries, scale=scale, jitter=jitter).delay_s
    assert delay is not None
    assert 0.89 <= delay / (DELAYS_S[tries] * scale) <= 1.11


def test_retry_after_lengthens_and_never_shortens() -> None:
    assert judge(attempt(429, after=120), tries=1, scale=1, jitter=0.5).delay_s == 120
    assert judge(attempt(429, after=1), tries=2, scale=1, jitter=0.5).delay_s == 300
    assert judge(attempt(429, after=1e9), tries=1, scale=1, jitter=0.5).delay_s == RETRY_AFTER_MAX_S


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("99999999999", 86400.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        (format_datetime(NOW + timedelta(days=400), usegmt=True), 86400.0),
        ("Mon, 23 Nov 2026 12:00:10 -0000", 10.0),
        ("Fri, 31 Dec 9999 23:59:59 -2300", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("9" * 5000, None),
        (None, None),
    ],
)
def test_retry_after_in_both_forms_and_in_none(header: str | None, seconds: float | None) -> None:
    found = retry_after_s(header, NOW)
    assert found == seconds or (seconds is None and header is not None and header.startswith("Fri") and found == 86400)


@given(st.text(max_size=70))
def test_whatever_the_header_says_the_wait_is_bounded(header: str) -> None:
    found = retry_after_s(header, NOW)
    assert found is None or 0 <= found <= RETRY_AFTER_MAX_S


@pytest.mark.parametrize(
    ("given", "trouble"),
    [
        (attempt(200), None),
        (attempt(200, ms=2001), "slow"),
        (attempt(500), "status 500"),
        (attempt(302, error="redirect"), "redirect"),
        (attempt(error="timeout"), "timeout"),
    ],
)
def test_failing_and_slow_endpoints_are_in_trouble(given: Attempt, trouble: str | None) -> None:
    assert given.trouble == trouble
