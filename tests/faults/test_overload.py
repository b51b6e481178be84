"""Ten times what the stack can take, for a few seconds; `make overload` does it for longer."""

from __future__ import annotations

from .overload import overload

SEED = 1


async def test_overload_is_refused_with_a_wait_and_what_was_accepted_arrives() -> None:
    seen = await overload(seconds=5, seed=SEED, drain_s=120)
    told = f"seed {SEED}: {seen}"
    assert seen.answers.get("503", 0) > 0, f"there was no overload; {told}"
    assert seen.without_retry_after == 0, told
    assert 1 <= seen.retry_after[0] <= seen.retry_after[1] <= 30, told
    assert seen.accepted > 0, told
    assert seen.lost == 0, told
    assert seen.health_failed == 0, told
    assert seen.rss_peak_mib < seen.rss_before_mib + 200, told
    assert seen.same_process, told
