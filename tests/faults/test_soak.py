"""A short soak of notifications; `make soak` goes on for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from muniment.server.parts import Parts

from .soak import soak, table
from .soak_plan import BROKER_FAULTS, MAIL_FAULTS

SECONDS = 12.0


@pytest.mark.timeout(240)  # the length of it, the start of two processes and one again, and the checker
async def test_each_subscription_hears_of_each_event_it_wants_once(parts: Parts, tmp_path: Path, seed: int) -> None:
    result = await soak(parts, tmp_path, seed, SECONDS, print)
    story = table(result)
    print(story)
    assert not result.violations, story
    assert all(row.wanted for row in result.rows), f"a filter that nothing met has tested nothing\n{story}"
    missed = {"500", "hang", "reset", "410", *BROKER_FAULTS} - {name for name, count in result.kinds.items() if count}
    assert not missed, f"never met: {missed}\n{story}"
    assert set(MAIL_FAULTS) & set(result.kinds), f"no mail met any trouble\n{story}"
