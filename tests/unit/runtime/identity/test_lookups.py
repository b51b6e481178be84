"""The cache in front of the database: fresh enough, bounded, one question at a time, and never an error kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest

from muniment.runtime.identity.lookups import Lookups


@dataclass
class Asked:
    """A table to ask, that counts its questions and may be made to wait or fail."""

    table: dict[str, str] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    gate: asyncio.Event | None = None
    error: Exception | None = None
    now: float = 0.0

    async def ask(self, key: str) -> str | None:
        self.asked[key] += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.table.get(key)

    def lookups(self, **options: int) -> Lookups[str, str]:
        return Lookups(self.ask, lambda: self.now, **options)


async def test_a_found_answer_is_kept_for_its_seconds_and_no_longer() -> None:
    asked = Asked({"a": "A"})
    lookups = asked.lookups()
    for asked.now in (0.0, 1.0, 4.9):
        assert await lookups.get("a") == "A"
    assert asked.asked["a"] == 1
    asked.table["a"] = "B"
    asked.now = 5.0  # used all the while, and old all the same
    assert lookups.kept("a") is None
    assert await lookups.get("a") == "B"
    assert asked.asked["a"] == 2


async def test_a_missing_answer_is_kept_for_a_second() -> None:
    asked = Asked()
    lookups = asked.lookups()
    for asked.now in (0.0, 0.9):
        assert await lookups.get("a") is None
    assert asked.asked["a"] == 1
    asked.table["a"] = "A"
    asked.now = 1.0
    assert await lookups.get("a") == "A"


async def test_callers_at_the_same_time_share_one_question() -> None:
    asked = Asked({"a": "A"}, gate=asyncio.Event())
    lookups = asked.lookups()
    waiting = [asyncio.create_task(lookups.get("a")) for _ in range(50)]
    while not asked.asked["a"]:
        await asyncio.sleep(0)
    waiting[0].cancel()  # whoever asked first may go away
    assert asked.gate is not None
    asked.gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert answers[1:] == ["A"] * 49
    assert asked.asked["a"] == 1


async def test_an_error_reaches_everyone_who_waits_and_is_not_kept() -> None:
    asked = Asked({"a": "A"}, error=OSError("away"))
    lookups = asked.lookups()
    answers = await asyncio.gather(*(lookups.get("a") for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [OSError] * 3
    asked.error = None
    assert await lookups.get("a") == "A"


async def test_forgetting_makes_the_next_caller_ask() -> None:
    asked = Asked({"a": "A"})
    lookups = asked.lookups()
    await lookups.get("a")
    await lookups.get("b")
    lookups.forget("a")
    lookups.forget("b")
    asked.table = {"b": "B"}
    assert await lookups.get("a") is None
    assert await lookups.get("b") == "B"


async def test_an_answer_asked_for_before_forgetting_is_not_kept_after_it() -> None:
    asked = Asked({"a": "old"}, gate=asyncio.Event())
    lookups = asked.lookups()
    early = asyncio.create_task(lookups.get("a"))
    while not asked.asked["a"]:
        await asyncio.sleep(0)
    lookups.forget("a")
    assert asked.gate is not None
    asked.gate.set()
    assert await early == "old"
    asked.table["a"] = "new"
    assert await lookups.get("a") == "new"


@pytest.mark.parametrize("found", [True, False])
async def test_the_memory_is_bounded_and_the_oldest_goes_first(found: bool) -> None:
    keys = [str(n) for n in range(100)]
    asked = Asked({key: key for key in keys} if found else {})
    lookups = asked.lookups(size=10)
    for key in keys:
        await lookups.get(key)
    assert (len(lookups._found), len(lookups._missing)) == ((10, 0) if found else (0, 10))
    for key in keys[-10:]:
        await lookups.get(key)
    assert asked.asked.total() == 100
    await lookups.get(keys[0])
    assert asked.asked.total() == 101


async def test_made_up_keys_push_out_no_real_one() -> None:
    asked = Asked({"real": "R"})
    lookups = asked.lookups(size=3)
    await lookups.get("real")
    for n in range(100):
        await lookups.get(f"made-up-{n}")
    await lookups.get("real")
    assert asked.asked["real"] == 1
    assert lookups._asking == {}
