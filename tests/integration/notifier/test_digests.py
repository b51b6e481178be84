"""Digests, quiet hours and alerts that flap: gathered in the ledger, told once, whatever is killed in between."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from muniment.contracts import topics
from muniment.contracts.cloudevent import CloudEvent
from muniment.contracts.events import BaselineDiverged
from muniment.notifier.gather import Gatherer

from .conftest import Notifier, Running, available, eventually
from .receiver import Receiver, answer
from .test_prune import counts, prune


class Wound:
    """A clock that is put by hand."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


def diverged(number: int, *, recovered: bool = False, metric: str = "accuracy") -> CloudEvent:
    version = {"number": 1, "id": "sha256:" + "0" * 64}
    payload = BaselineDiverged.model_validate(
        {
            "model": "digits",
            "metric": metric,
            "recovered": recovered,
            "baseline": version,
            "first_version": version,
            "first_at": "2026-11-23T12:00:00Z",
            "expected": ">= 0.9",
            "actual": number / 100,
            "operator": "muniment|ada",
        }
    )
    data = payload.model_dump_json(exclude_none=True).encode()
    return CloudEvent(f"d-{number}", "/muniment/registry", topics.BASELINE_DIVERGED.type, data)


async def pass_time(notifier: Notifier, running: Running) -> None:
    """The window's end comes: what is gathered is due."""
    await notifier.pool.execute("UPDATE delivery SET due_at = now() WHERE state = 'gathered'")
    await running.gatherer.close()


def told(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in receiver.requests]


async def test_what_happens_in_an_hour_is_told_together_and_once(notifier: Notifier) -> None:
    async with Receiver() as receiver, notifier.running() as running:
        subscription = await notifier.subscribe(receiver.url, timing={"digest": "hourly"})
        await running.tell(available(1), available(2))
        await running.tell(available(3))
        assert await notifier.states() == ["gathered"] * 3
        due: datetime = await notifier.pool.fetchval("SELECT max(due_at) FROM delivery")
        assert (due.minute, due.second) == (0, 0)
        assert due > datetime.now(UTC)
        await running.gatherer.close()
        assert await notifier.states() == ["gathered"] * 3
        await pass_time(notifier, running)
        await notifier.settled(*["delivered"] * 4)
        await running.gatherer.close()
        await running.tell(available(1), available(4))  # the first one is there already
        await pass_time(notifier, running)
        await notifier.settled(*["delivered"] * 6)
    first, second = told(receiver)
    assert (first["type"], first["data"]["count"], first["data"]["subscription"]) == (
        "muniment.digest.v1",
        3,
        str(subscription),
    )
    assert [entry["data"]["number"] for entry in first["data"]["events"]] == [1, 2, 3]
    assert [entry["data"]["number"] for entry in second["data"]["events"]] == [4]
    ids = [request.id for request in receiver.requests]
    assert ids == [first["id"], second["id"]]
    members = await notifier.pool.fetch("SELECT digest_id FROM delivery WHERE body IS NULL ORDER BY event_seq")
    assert [str(row["digest_id"]) for row in members] == [ids[0]] * 3 + [ids[1]]


async def test_a_digest_is_made_once_by_many_and_survives_whoever_made_it(notifier: Notifier) -> None:
    async with notifier.running(deliver=False) as running:
        await notifier.subscribe("http://127.0.0.1:9/", timing={"digest": "daily"})
        await running.tell(*(available(number) for number in range(1, 41)))
        await notifier.pool.execute("UPDATE delivery SET due_at = now()")
        gatherers = [Gatherer(running.transactions, lambda _: None) for _ in range(4)]

        async with notifier.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM subscription FOR NO KEY UPDATE")
            await gatherers[0].close()  # another process holds it: left to that one
        assert await notifier.pool.fetchval("SELECT count(*) FROM delivery WHERE body IS NOT NULL") == 0
        await asyncio.gather(*(one.close() for one in gatherers))
        digests = await notifier.pool.fetch("SELECT id, body FROM delivery WHERE body IS NOT NULL")
    assert len(digests) == 1
    assert json.loads(digests[0]["body"])["data"]["count"] == 40
    async with Receiver() as receiver:
        await notifier.pool.execute("UPDATE subscription SET config = $1", json.dumps({"url": receiver.url}))
        async with notifier.running():
            await notifier.settled(*["delivered"] * 41)
    [request] = receiver.requests
    assert request.id == str(digests[0]["id"])


async def test_a_digest_that_dies_takes_its_events_along_and_brings_them_back(notifier: Notifier) -> None:
    from muniment.notifier import ledger

    async with Receiver(behaviour=answer(500)) as receiver, notifier.running() as running:
        await notifier.subscribe(receiver.url, timing={"digest": "hourly"})
        await running.tell(available(1), available(2))
        await pass_time(notifier, running)
        await notifier.settled("dead", "dead", "dead")
        assert len({request.id for request in receiver.requests}) == 1
        receiver.behaviour = answer(200)
        async with running.transactions.begin() as tx:
            woken = await ledger.retry(tx.connection, uuid.UUID(receiver.requests[0].id))
            tx.after_commit(lambda: running.deliverer.wake([woken]))
        await notifier.settled("delivered", "delivered", "delivered")


async def test_quiet_hours_gather_and_hold_back_retries(notifier: Notifier) -> None:
    clock = Wound(datetime(2026, 7, 1, 21, 30, tzinfo=UTC))  # 23:30 in Berlin
    timing = {"quiet_hours": "22:00-07:00 Europe/Berlin"}
    async with Receiver() as receiver, notifier.running(clock=clock) as running:
        await notifier.subscribe(receiver.url, timing=timing)
        await running.tell(available(1), available(2))
        assert await notifier.states() == ["gathered"] * 2
        assert await notifier.pool.fetchval("SELECT DISTINCT due_at FROM delivery") == datetime(
            2026, 7, 2, 5, 0, tzinfo=UTC
        )
        # a digest that is ready, or a retry, does not go out in quiet hours either
        await pass_time(notifier, running)

        async def put_off() -> Any:
            return await notifier.pool.fetchval(
                "SELECT lease_epoch - retry_from = 0 AND lease_epoch > 0 FROM delivery WHERE body IS NOT NULL"
            )

        await eventually(put_off)
        assert receiver.requests == []
        clock.moment = datetime(2026, 7, 2, 5, 0, tzinfo=UTC)
        await notifier.pool.execute("UPDATE delivery SET due_at = now() WHERE body IS NOT NULL")
        await running.tell(available(3))
        await notifier.settled(*["delivered"] * 4)
    assert sorted(event["type"] for event in told(receiver)) == [
        "muniment.digest.v1",
        "muniment.version-available.v1",
    ]


async def test_an_alert_that_flaps_is_told_once_a_window_and_its_last_state_always(notifier: Notifier) -> None:
    clock = Wound(datetime(2026, 7, 1, 12, 0, tzinfo=UTC))
    async with Receiver() as receiver, Receiver() as every, notifier.running(clock=clock) as running:
        await notifier.subscribe(receiver.url, timing={"damp_minutes": 30})
        await notifier.subscribe(every.url)
        await running.tell(diverged(1), diverged(2, recovered=True), diverged(3), diverged(4, metric="loss"))
        clock.moment += timedelta(minutes=10)
        await running.tell(diverged(5, recovered=True), available(1))
        await every.wait_for(6)
        await receiver.wait_for(3)
        await pass_time(notifier, running)
        await receiver.wait_for(4)
        clock.moment += timedelta(minutes=25)  # the digest went out five minutes ago
        await running.tell(diverged(6))
        await pass_time(notifier, running)
        await receiver.wait_for(5)
        clock.moment += timedelta(hours=2)
        await running.tell(diverged(7))
        await receiver.wait_for(6)
        await eventually(lambda: _all_done(notifier))
    bodies = told(receiver)
    alone = [body["data"].get("actual", "version") for body in bodies if body["type"] != "muniment.digest.v1"]
    assert sorted(map(str, alone)) == ["0.01", "0.04", "0.07", "version"]
    first, second = [body["data"] for body in bodies if body["type"] == "muniment.digest.v1"]
    [entry] = first["events"]
    assert (first["count"], entry["repeated"], entry["data"]["actual"], entry["data"]["recovered"]) == (
        3,
        2,
        0.05,
        True,
    )
    assert [one["data"]["actual"] for one in second["events"]] == [0.06]


async def _all_done(notifier: Notifier) -> bool:
    return set(await notifier.states()) == {"delivered"}


async def test_a_changed_timing_sends_what_was_gathered(notifier: Notifier) -> None:
    import dataclasses

    from muniment.notifier import store
    from muniment.notifier.timing import Timing

    async with Receiver() as receiver, notifier.running() as running:
        subscription = await notifier.subscribe(receiver.url, timing={"digest": "daily"})
        await running.tell(available(1))
        async with running.transactions.begin() as tx:
            found = await store.lock(tx.connection, subscription)
            await store.update(tx.connection, dataclasses.replace(found, timing=Timing()), tx.now)
            await tx.connection.execute(store.SQL["close_gathered"], subscription)
        await running.gatherer.close()
        await running.tell(available(2))
        await notifier.settled(*["delivered"] * 3)
    assert sorted(event["type"] for event in told(receiver)) == [
        "muniment.digest.v1",
        "muniment.version-available.v1",
    ]


async def test_gathered_events_and_digests_are_pruned_with_the_others(notifier: Notifier) -> None:
    async with Receiver() as receiver, notifier.running() as running:
        await notifier.subscribe(receiver.url, timing={"digest": "hourly", "damp_minutes": 5})
        await running.tell(available(1))
        await pass_time(notifier, running)
        await notifier.settled("delivered", "delivered")
        await running.tell(available(2))
    await prune(notifier, 36)
    assert await notifier.states() == ["dead"]
    await prune(notifier, 90)
    assert await counts(notifier) == (0, 0, 0)
