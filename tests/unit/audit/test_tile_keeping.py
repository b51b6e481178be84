"""When a round over the tiles' locks is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from muniment.audit.tile_keeping import next_round

NOW = datetime(2026, 5, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    ("margin", "due_after"),
    [(timedelta(seconds=100), timedelta(seconds=10)), (timedelta(days=730), timedelta(days=7))],
)
def test_each_lock_is_seen_several_times_between_its_margin_and_its_end(
    margin: timedelta, due_after: timedelta
) -> None:
    assert next_round(None, margin, NOW), "what was never looked at is looked at"
    assert not next_round(NOW, margin, NOW + due_after - timedelta(milliseconds=1))
    assert next_round(NOW, margin, NOW + due_after)
