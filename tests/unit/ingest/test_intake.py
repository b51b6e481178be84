"""How long a refused request is asked to wait."""

from __future__ import annotations

import pytest

from muniment.ingest.intake import Rate, retry_after


@pytest.mark.parametrize(
    ("ahead", "per_second", "seconds"),
    [(0, 100, 1), (100, 100, 1), (101, 100, 2), (2_900, 100, 29), (3_000, 100, 30), (1e9, 100, 30), (1, 0, 30)],
)
def test_the_wait_is_that_of_those_ahead_within_bounds(ahead: float, per_second: float, seconds: int) -> None:
    assert retry_after(ahead, per_second) == seconds


def test_a_rate_rises_to_what_happens_and_fades() -> None:
    rate = Rate()
    for tick in range(400):
        rate.add(5, tick / 10)
    assert rate.per_second(40.0) == pytest.approx(50, rel=0.05)
    assert rate.per_second(80.0) < 0.1
