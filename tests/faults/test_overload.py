"""Ten times what the stack can take, for a few seconds; `make overload` does it for longer."""

from __future__ import annotations

import dataclasses

from muniment.server.endpoints import endpoints_of
from muniment.server.parts import Parts
from muniment.server.process import parts_environment

from .overload import overload

SECONDS = 3


async def test_overload_is_refused_with_a_wait_and_what_was_accepted_arrives(
    parts: Parts, postgres_dsn: str, seed: int
) -> None:
    there = parts_environment(dataclasses.replace(endpoints_of(parts), postgres_dsn=postgres_dsn))
    seen = await overload(seconds=SECONDS, seed=seed, drain_s=120, **there, MUNIMENT_INGEST__ALLOW_UNSIGNED="true")
    told = f"seed {seed}: {seen}"
    print(told)
    assert seen.answers.get("503", 0) > 0, f"there was no overload; {told}"
    assert seen.without_retry_after == 0, told
    assert 1 <= seen.retry_after[0] <= seen.retry_after[1] <= 30, told
    assert seen.accepted > 0, told
    assert seen.lost == 0, told
    assert seen.health_failed == 0, told
    assert seen.rss_peak_mib < seen.rss_before_mib + 200, told
    assert seen.same_process, told
