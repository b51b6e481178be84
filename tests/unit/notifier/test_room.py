"""Room for one more subscription: counted only when there could be too many."""

from __future__ import annotations

from typing import Any, cast

import pytest

from muniment.contracts.errors import Conflict
from muniment.notifier.store import Room


class Table:
    """As much of a connection as a count needs."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked = 0

    async def fetchval(self, _: str) -> int:
        self.asked += 1
        return self.count


async def check(room: Room, table: Table, version: int) -> None:
    await room.check(cast("Any", table), version)


async def test_the_table_is_counted_once_for_all_that_surely_fit() -> None:
    room, table = Room(10), Table(0)
    for version in range(1, 11):
        await check(room, table, version)
        table.count += 1
    assert table.asked == 1
    with pytest.raises(Conflict) as refused:
        await check(room, table, 11)
    assert (refused.value.code, table.asked) == ("subscription_limit", 2)


async def test_what_other_processes_made_meanwhile_counts() -> None:
    room, table = Room(10), Table(0)
    await check(room, table, 1)
    table.count = 10
    with pytest.raises(Conflict):
        await check(room, table, 11)


async def test_changes_make_it_count_anew_and_refuse_nothing() -> None:
    room, table = Room(3), Table(1)
    for version in range(1, 20):  # changes raise the version, too, and add none
        await check(room, table, version)
    assert table.asked > 1


async def test_a_set_that_begins_anew_is_counted() -> None:
    room, table = Room(3), Table(0)
    await check(room, table, 100)
    table.count = 3
    with pytest.raises(Conflict):
        await check(room, table, 2)
