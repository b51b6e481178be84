"""Loops outlive an outage, and a fault of their own ends the whole."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from muniment.contracts.errors import Misconfigured
from muniment.server import loops
from muniment.server.loops import Loops


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "PAUSE_S", 0.0)
    monkeypatch.setattr(loops, "CURE_PAUSE_S", 0.0)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.ConnectionDoesNotExistError("gone"),
        OSError(),
        TimeoutError(),
        Misconfigured("store_access_denied", "the store refuses these credentials"),
    ],
)
async def test_a_loop_that_lost_a_part_or_its_rights_begins_again(error: Exception) -> None:
    runs = 0
    again = asyncio.Event()

    async def loop() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise error
        again.set()
        await asyncio.Event().wait()

    running = Loops()
    running.add("loop", loop)
    failed = asyncio.create_task(running.failed())
    async with asyncio.timeout(10):
        await again.wait()
    assert not failed.done()
    await running.stop()
    await asyncio.gather(failed, return_exceptions=True)


async def test_a_bug_ends_the_whole() -> None:
    async def loop() -> None:
        raise LookupError("a bug")

    running = Loops()
    running.add("loop", loop)
    with pytest.raises(LookupError, match="a bug"):
        await running.failed()
    await running.stop()


async def test_a_loop_that_ends_by_itself_is_a_failure() -> None:
    async def loop() -> None:
        return

    running = Loops()
    running.add("the loop", loop)
    with pytest.raises(RuntimeError, match="the loop ended by itself"):
        await running.failed()
    await running.stop()
