"""Offsets are committed beside the next batch: in order, merged, never ahead of what was done."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError
from hypothesis import given
from hypothesis import strategies as st

from muniment.runtime.delivery.offsets import Offsets

ONE, TWO = TopicPartition("t", 1), TopicPartition("t", 2)


class Broker:
    """A consumer's commits: each waits until it is answered."""

    def __init__(self, *mine: TopicPartition) -> None:
        self.mine = set(mine)
        self.asked: list[dict[TopicPartition, int]] = []
        self.answers: asyncio.Queue[Exception | None] = asyncio.Queue()

    def assignment(self) -> set[TopicPartition]:
        return self.mine

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.asked.append(dict(offsets))
        answer = await self.answers.get()
        if answer is not None:
            raise answer

    @property
    def consumer(self) -> AIOKafkaConsumer:
        return cast("Any", self)


async def idle() -> None:
    """Let every task that can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_next_batch_does_not_wait_and_what_it_did_is_in_the_next_commit() -> None:
    broker, offsets = Broker(ONE, TWO), Offsets(pause_s=0)
    await offsets.done({ONE: 5}, broker.consumer)
    await idle()
    await offsets.done({ONE: 7}, broker.consumer)
    await offsets.done({ONE: 9, TWO: 1}, broker.consumer)
    await idle()
    assert broker.asked == [{ONE: 5}]
    broker.answers.put_nowait(None)
    await idle()
    assert broker.asked == [{ONE: 5}, {ONE: 9, TWO: 1}]


async def test_settling_waits_for_what_is_under_way_and_every_later_batch_for_its_own() -> None:
    broker, offsets = Broker(ONE), Offsets()
    await offsets.done({ONE: 5}, broker.consumer)
    settling = asyncio.create_task(offsets.settle())
    await idle()
    assert not settling.done()
    broker.answers.put_nowait(None)
    await settling
    last = asyncio.create_task(offsets.done({ONE: 6}, broker.consumer))
    await idle()
    assert not last.done()
    broker.answers.put_nowait(None)
    await last
    assert broker.asked == [{ONE: 5}, {ONE: 6}]


async def test_settling_with_nothing_done_returns() -> None:
    await Offsets().settle()


async def test_a_partition_that_was_taken_away_is_not_committed() -> None:
    broker, offsets = Broker(TWO), Offsets()
    await offsets.done({ONE: 5, TWO: 3}, broker.consumer)
    broker.answers.put_nowait(None)
    await offsets.settle()
    assert broker.asked == [{TWO: 3}]


async def test_between_two_commits_there_is_a_pause_which_settling_ends() -> None:
    broker, offsets = Broker(ONE), Offsets(pause_s=3600)
    for upto in (5, 6, 7):
        broker.answers.put_nowait(None)
        await offsets.done({ONE: upto}, broker.consumer)
        await idle()
    assert broker.asked == [{ONE: 5}]
    async with asyncio.timeout(10):
        await offsets.settle()
    assert broker.asked == [{ONE: 5}, {ONE: 7}]


@pytest.mark.parametrize("mine", [(ONE,), ()])
async def test_a_failed_commit_ends_nothing(mine: tuple[TopicPartition, ...]) -> None:
    broker, offsets = Broker(*mine), Offsets(pause_s=0)
    await offsets.done({ONE: 5}, broker.consumer)
    broker.answers.put_nowait(CommitFailedError())
    await idle()
    broker.mine = {ONE}
    await offsets.done({ONE: 6}, broker.consumer)
    broker.answers.put_nowait(None)
    await idle()
    assert broker.asked[-1] == {ONE: 6}


@given(st.lists(st.one_of(st.integers(1, 3), st.none()), max_size=30))
def test_commits_rise_and_end_at_what_was_done(steps: list[int | None]) -> None:
    """A number: so many records more have their end. None: the broker answers."""

    async def run() -> None:
        broker, offsets, upto = Broker(ONE), Offsets(pause_s=0), 0
        for step in steps:
            if step is None:
                broker.answers.put_nowait(None)
            else:
                upto += step
                await offsets.done({ONE: upto}, broker.consumer)
            await idle()
            assert all(asked[ONE] <= upto for asked in broker.asked)
        for _ in steps:
            broker.answers.put_nowait(None)
        await offsets.settle()
        committed = [asked[ONE] for asked in broker.asked]
        assert committed == sorted(set(committed))
        assert (committed[-1] if committed else 0) == upto

    asyncio.run(run())
