"""Deliveries that are leased as they are made and handed to the worker of the same process: none is lost or repeated."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from muniment.notifier import ledger
from muniment.notifier.ledger import Ledger

from .conftest import PACE, Notifier, Running, available, eventually
from .receiver import Receiver, hang

ALONE = dataclasses.replace(PACE, poll_s=3600, lease_s=600)
"""A worker that finds nothing by itself."""


async def running_now(running: Running) -> None:
    """Return when the worker has begun and the subscriptions are known."""

    async def check() -> bool:
        return running.deliverer.room()(UUID(int=0))

    await eventually(check)
    await running.learn()


async def test_what_was_handed_over_is_delivered_without_a_look_for_it(
    notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lease(*_: object) -> list[Any]:
        raise AssertionError("it was looked for")

    async with Receiver() as receiver, notifier.running(ALONE) as running:
        await notifier.subscribe(receiver.url)
        await running_now(running)
        monkeypatch.setattr(Ledger, "lease", lease)
        for number in range(1, 6):
            await running.tell(available(number))
            await receiver.wait_for(number)
            await notifier.settled(*["delivered"] * number)
    assert await notifier.pool.fetchval("SELECT array_agg(DISTINCT lease_epoch) FROM delivery") == [1]
    assert [row["number"] for row in await notifier.attempts()] == [1] * 5
    assert len({request.id for request in receiver.requests}) == 5


async def test_no_more_are_handed_over_than_one_subscription_may_hold(notifier: Notifier) -> None:
    patient = dataclasses.replace(ALONE, timeout_s=60)
    async with Receiver(behaviour=hang) as receiver, notifier.running(patient) as running:
        await notifier.subscribe(receiver.url)
        await running_now(running)
        await running.tell(*(available(number) for number in range(1, 51)))
        await receiver.wait_for(PACE.per_lane)
        await running.tell(available(51))
        held = "SELECT count(*) FROM delivery WHERE due_at > now()"
        assert await notifier.pool.fetchval(held) == len(receiver.requests) == PACE.per_lane


async def test_a_degraded_endpoint_is_handed_nothing_and_gets_it_by_turn(notifier: Notifier) -> None:
    async with Receiver() as receiver, notifier.running(ALONE) as running:
        await notifier.subscribe(receiver.url)
        await notifier.pool.execute("UPDATE subscription SET degraded_since = now(), degraded_reason = 'timeout'")
        await running.tell(available(1), available(2), available(3))
        await receiver.wait_for(3)
        await notifier.settled(*["delivered"] * 3)
    assert len({request.id for request in receiver.requests}) == 3


async def test_what_its_process_left_behind_goes_out_when_the_lease_has_run_out(
    notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    brief = dataclasses.replace(PACE, lease_s=0.3)
    async with Receiver() as receiver, notifier.running(brief) as dying:
        await notifier.subscribe(receiver.url)
        await running_now(dying)
        monkeypatch.setattr(dying.waiters, "take", lambda jobs: None)  # committed, and killed before it had them
        await dying.tell(available())
        assert await notifier.pool.fetchval("SELECT lease_epoch FROM delivery") == 1
        await receiver.wait_for(1)
        await notifier.settled("delivered")
    assert len(receiver.requests) == 1
    assert await notifier.pool.fetchval("SELECT lease_epoch FROM delivery") == 2


async def test_a_worker_that_was_stopped_leaves_what_is_made_to_others(notifier: Notifier) -> None:
    async with notifier.running(deliver=False) as idle:
        room: Callable[[UUID], bool] = idle.deliverer.room()
        async with Receiver() as receiver:
            subscription = await notifier.subscribe(receiver.url)
            await idle.learn()
            assert not room(subscription)
            await idle.tell(available())
            assert await notifier.pool.fetchval("SELECT lease_epoch FROM delivery") == 0
            async with notifier.running(PACE):
                await receiver.wait_for(1)
                await notifier.settled("delivered")


async def test_a_batch_whose_answer_was_lost_is_delivered_once_when_its_leases_have_run_out(
    notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce, lost = ledger.announce, []

    async def losing(*arguments: Any) -> Any:
        answer = await announce(*arguments)
        if not lost:
            lost.append(answer)
            raise ConnectionResetError("the answer was lost")
        return answer

    brief = dataclasses.replace(PACE, lease_s=0.3)
    async with Receiver() as receiver, notifier.running(brief) as running:
        await notifier.subscribe(receiver.url)
        await running_now(running)
        monkeypatch.setattr(ledger, "announce", losing)
        await running.tell(available(1), available(2))
        assert len(lost) == 1
        await receiver.wait_for(2)
        await notifier.settled("delivered", "delivered")
    assert len({request.id for request in receiver.requests}) == len(receiver.requests) == 2
