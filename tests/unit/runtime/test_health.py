"""Readiness: every part asked at once, none waited for longer than its deadline."""

from __future__ import annotations

import asyncio
import time

from muniment.runtime.health import Readiness


async def ok() -> None:
    """A part that answers."""


async def never() -> None:
    await asyncio.Event().wait()


async def test_a_part_that_never_answers_has_a_deadline_and_delays_no_other() -> None:
    readiness = Readiness({"a": never, "b": never, "c": ok}, deadline_s=0.05)
    started = time.monotonic()
    report = await readiness.report()
    assert time.monotonic() - started < 5  # far below the sum of many deadlines, far above any scheduling delay
    assert report.ready is False
    assert report.checks["a"]["why"] == report.checks["b"]["why"] == "no answer within 0.05 s"
    assert report.checks["c"]["ok"] is True


async def test_a_parts_own_time_out_is_told_as_its_own() -> None:
    async def gave_up() -> None:
        raise TimeoutError("pool")

    report = await Readiness({"postgres": gave_up}).report()
    assert report.checks["postgres"]["why"] == "TimeoutError: pool"


async def test_an_error_is_told_without_the_secrets_in_it() -> None:
    async def refused() -> None:
        raise OSError("cannot reach postgres://app:hunter2@db/muniment" + "x" * 1000)

    report = await Readiness({"postgres": refused}).report()
    why = report.checks["postgres"]["why"]
    assert "hunter2" not in why
    assert why.startswith("OSError: cannot reach postgres://app:***@db")
    assert len(why) <= 300


async def test_callers_at_the_same_time_share_one_round_and_the_next_gets_a_new_one() -> None:
    rounds = 0
    opened = asyncio.Event()

    async def slow() -> None:
        nonlocal rounds
        rounds += 1
        await opened.wait()

    readiness = Readiness({"s3": slow})
    waiting = [asyncio.create_task(readiness.report()) for _ in range(20)]
    while not rounds:
        await asyncio.sleep(0)
    waiting[0].cancel()  # one caller that hangs up takes the answer from nobody
    opened.set()
    reports = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(reports[0], asyncio.CancelledError)
    assert all(not isinstance(report, BaseException) and report.ready for report in reports[1:])
    assert rounds == 1
    await readiness.report()
    assert rounds == 2


async def test_nothing_to_check_is_ready() -> None:
    assert (await Readiness({}).report()).ready


async def test_a_note_is_told_and_makes_nothing_unready() -> None:
    async def late() -> None:
        raise OSError("late")

    report = await Readiness({"postgres": ok}, {"audit": late, "other": ok}).report()
    assert report.ready is True
    assert set(report.checks) == {"postgres"}
    assert report.notes["audit"]["why"] == "OSError: late"
    assert report.notes["other"]["ok"] is True
