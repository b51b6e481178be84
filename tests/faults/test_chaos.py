"""Two minutes of faults at random over two replicas of each service; `make chaos` does it for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from muniment.server.parts import Parts

from .chaos import chaos, named, table
from .chaos_plan import plan

SECONDS = 120.0


@pytest.mark.timeout(420)  # the length of the faults, the start of ten processes, and the checker
async def test_chaos_loses_nothing_and_does_nothing_twice(parts: Parts, tmp_path: Path, seed: int) -> None:
    result = await chaos(parts, tmp_path, seed, SECONDS, print)
    story = f"{result.story}\n{table(result)}"
    print(story)
    assert not result.violations, story
    silent = {named(fault) for fault in plan(seed, SECONDS)} - {*result.fired, "kill at a step"}
    assert not silent, f"never seen to happen: {silent}\n{story}"
