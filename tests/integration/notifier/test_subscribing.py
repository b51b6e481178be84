"""Subscriptions with conditions and an end, what they would have matched, and past events delivered once more."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from muniment.contracts.errors import Conflict
from muniment.notifier import look_back, replays, store
from muniment.notifier.ledger import Ledger

from . import test_http
from .conftest import Notifier, available, eventually
from .receiver import Receiver, answer
from .test_http import Api

api = test_http.api
"""The same fixture."""

PAST = "2020-01-01T00:00:00Z"


async def test_conditions_on_metrics_and_tags_decide_who_hears(api: Api) -> None:
    async with Receiver() as receiver:
        made = await api.subscribe(
            receiver.url, stability="stable", metrics=["accuracy>=0.95", "loss < 1"], tags=["env=production"]
        )
        assert (made["metrics"], made["tags"]) == (["accuracy >= 0.95", "loss < 1.0"], ["env=production"])
        production = {"tags": {"env": "production"}}
        good = {"accuracy": 0.95, "loss": 0.1}
        await api.running.tell(
            available(1, metrics={**good, "accuracy": 0.94}, **production),
            available(2, metrics=good, tags={"env": "test"}),
            available(3, metrics=good, stability="candidate", **production),
            available(4, metrics={"accuracy": 0.95}, **production),
            available(5, metrics=good, **production),
        )
        await api.notifier.settled("delivered")
    [request] = receiver.requests
    assert json.loads(request.body)["data"]["number"] == 5


async def test_there_are_never_more_than_may_be_and_a_deletion_makes_room(notifier: Notifier) -> None:
    room, other = store.Room(3), store.Room(3)

    async def one(mine: store.Room) -> uuid.UUID:
        async with notifier.pool.acquire() as connection, connection.transaction():
            version = await connection.fetchval(store.SQL["bump_subscriptions"])
            await mine.check(connection, version)
        return await notifier.subscribe("https://example.org/hook")

    first = await one(room)
    await one(other)
    await one(room)
    for mine in (room, other):
        with pytest.raises(Conflict) as refused:
            await one(mine)
        assert refused.value.code == "subscription_limit"
    async with notifier.pool.acquire() as connection, connection.transaction():
        await store.delete(connection, first, datetime.now(UTC))
    await one(room)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"metrics": ["accuracy>=nan"]}, "filter_invalid"),
        ({"metrics": ["accuracy"]}, "filter_invalid"),
        ({"metrics": ["a>1"] * 21}, "schema_invalid"),
        ({"metrics": "a>1"}, "schema_invalid"),
        ({"tags": ["=x"]}, "filter_invalid"),
        ({"expires_at": PAST}, "expiry_invalid"),
        ({"expires_at": "2030-01-01T00:00:00"}, "time_without_zone"),
        ({"digest": "weekly"}, "schema_invalid"),
        ({"quiet_hours": "22:00-07:00 Mars/Olympus"}, "timing_invalid"),
        ({"quiet_hours": "always"}, "timing_invalid"),
        ({"damp_minutes": 0}, "schema_invalid"),
        ({"damp_minutes": True}, "schema_invalid"),
    ],
)
async def test_what_could_never_work_is_refused(api: Api, fields: dict[str, Any], code: str) -> None:
    made = await api.subscribe("http://127.0.0.1:9/", name="other")
    wanted = {"name": "x", "url": "http://127.0.0.1:9/", **fields}
    for refused in (
        await api.call("POST", "/subscriptions", wanted),
        await api.call("PATCH", f"/subscriptions/{made['id']}", fields),
    ):
        assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert len(await api.audit()) == 1
    assert (await api.call("GET", f"/subscriptions/{made['id']}")).json()["version"] == 1


async def test_one_row_that_cannot_be_read_leaves_the_others_alone(api: Api) -> None:
    async with Receiver() as receiver:
        bad = [await api.subscribe("http://127.0.0.1:9/") for _ in range(4)]
        await api.subscribe(receiver.url)
        rows = [("filter", '{"metrics": ["?"]}'), ("filter", "[]"), ("timing", '{"quiet_hours": 5}'), ("timing", "7")]
        for made, (column, text) in zip(bad, rows, strict=True):
            await api.notifier.pool.execute(f"UPDATE subscription SET {column} = $2 WHERE id = $1", made["id"], text)
        await api.running.tell(available(1))
        await api.notifier.settled("delivered")
        shown = (await api.call("GET", "/subscriptions")).json()["items"]
        assert [one["state"] for one in shown] == ["active", *["disabled"] * 4]
        assert all("cannot be read" in one["reason"] for one in shown[1:])
        mended = await api.call("PATCH", f"/subscriptions/{bad[0]['id']}", {"model": "digits", "paused": False})
        assert (mended.json()["state"], mended.json()["reason"], mended.json()["model"]) == ("active", None, "digits")


async def test_after_its_end_a_subscription_gets_nothing_and_says_so(api: Api) -> None:
    async with Receiver() as receiver, Receiver() as other:
        soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        made = await api.subscribe(receiver.url, expires_at=soon)
        await api.subscribe(other.url)
        path = f"/subscriptions/{made['id']}"
        await api.running.tell(available(1))
        await api.notifier.settled("delivered", "delivered")
        # its time comes; what was on its way does not arrive, and nothing new is queued. One transaction: the
        # delivery must not be due, for a moment, while the subscription still lives
        async with api.notifier.pool.acquire() as connection, connection.transaction():
            await connection.execute("UPDATE feed_state SET subscriptions_version = subscriptions_version + 1")
            await connection.execute("UPDATE subscription SET expires_at = now() WHERE id = $1", made["id"])
            await connection.execute(
                "UPDATE delivery SET state = 'pending', due_at = now() WHERE subscription_id = $1", made["id"]
            )
        assert (await api.call("GET", path)).json()["state"] == "expired"
        await api.running.tell(available(2))
        await other.wait_for(2)
        assert await Ledger(api.notifier.pool).lease({uuid.UUID(made["id"]): 5}, lease_s=1) == []
        await api.notifier.settled("pending", "delivered", "delivered")
        assert len(receiver.requests) == 1
        refused = await api.call("POST", f"{path}/replay", {"after": 0})
        assert (refused.status_code, refused.json()["actual"]) == (409, "expired")
        await api.running.gatherer.expire()
        await api.running.gatherer.expire()
        found = (await api.call("GET", path)).json()
        assert (found["state"], found["reason"]) == ("expired", "its time is over")
        [entry] = [one for one in await api.audit() if one["action"] == "subscription.expired"]
        assert (entry["operator"], entry["resource"]) == ("muniment|notifier", f"subscriptions/{made['id']}")
        resumed = await api.call("PATCH", path, {"paused": False})
        assert (resumed.status_code, resumed.json()["code"]) == (409, "subscription_expired")
        again = await api.call("PATCH", path, {"expires_at": soon})
        assert again.json()["state"] == "active"
        await receiver.wait_for(2)


async def test_a_preview_shows_what_would_have_matched_page_by_page(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_back, "_SCAN_ROWS", 7)
    monkeypatch.setattr(look_back, "_READ_ROWS", 3)
    monkeypatch.setattr(look_back, "_READ_BYTES", 2_000)
    monkeypatch.setattr(replays, "_STEPS", 2)
    await api.running.tell(*(available(number, metrics={"a": number}) for number in range(1, 41)))
    await api.running.tell(*(available(number, model="other") for number in range(1, 41)))
    await api.notifier.pool.execute("UPDATE event_feed SET recorded_at = now() - interval '10 days' WHERE seq <= 20")

    async def numbers(**wanted: Any) -> list[int]:
        found: list[int] = []
        while True:
            page = (await api.call("POST", "/subscriptions/preview", wanted)).json()
            assert len(page["items"]) <= wanted["limit"]
            found += [item["data"]["number"] for item in page["items"]]
            if page["complete"]:
                return found
            assert wanted.get("after", -1) < page["cursor"]
            wanted["after"] = page["cursor"]

    for limit in (1, 4, 100):
        assert await numbers(limit=limit, model="DIG*", metrics=["a>5", "a<=33"]) == list(range(6, 34))
        assert await numbers(limit=limit, model="digits", days=3) == list(range(21, 41))
        assert await numbers(limit=limit, types=["baseline-changed"]) == []
    assert await numbers(limit=100) == [*range(1, 41), *range(1, 41)]
    refused = await api.call("POST", "/subscriptions/preview", {"metrics": ["a>nan"]})
    assert refused.json()["code"] == "filter_invalid"
    assert (await api.call("POST", "/subscriptions/preview", {}, token="reader")).status_code == 403
    assert await api.audit() == []


async def test_a_replay_gives_every_event_its_one_delivery(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "_EVENTS", 3)
    async with Receiver() as receiver:
        await api.running.tell(*(available(number) for number in range(1, 6)))  # before there was a subscription
        made = await api.subscribe(receiver.url, model="digits")
        path = f"/subscriptions/{made['id']}"
        await api.running.tell(available(6), available(1, model="other"))
        await api.notifier.settled("delivered")
        receiver.behaviour = answer(500)
        await api.running.tell(available(7))
        await api.notifier.settled("delivered", "dead")
        receiver.behaviour = answer(204)
        first = {json.loads(one.body)["data"]["number"]: one.id for one in receiver.requests}

        async def replay(force: bool, **start: Any) -> dict[str, int]:
            total = {"queued": 0, "again": 0, "kept": 0}
            wanted = {**start, "force": force}
            while True:
                done = await api.call("POST", f"{path}/replay", wanted)
                assert done.status_code == 200, done.text
                total = {name: count + done.json()[name] for name, count in total.items()}
                if done.json()["complete"]:
                    return total
                wanted = {"after": done.json()["cursor"], "force": force}

        before = len(receiver.requests)
        assert await replay(False, since=PAST) == {"queued": 5, "again": 1, "kept": 1}
        await api.notifier.settled(*["delivered"] * 7)
        assert len(receiver.requests) == before + 6
        assert await replay(False, since=PAST) == {"queued": 0, "again": 0, "kept": 7}
        assert await replay(True, after=0) == {"queued": 0, "again": 7, "kept": 0}
        await receiver.wait_for(before + 13)
        await api.notifier.settled(*["delivered"] * 7)
        ids = {json.loads(one.body)["data"]["number"]: one.id for one in receiver.requests}
        assert {number: ids[number] for number in first} == first
        assert len({one.id for one in receiver.requests}) == 7
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        assert await replay(True, since=later) == {"queued": 0, "again": 0, "kept": 0}
        entries = [one for one in await api.audit() if one["action"] == "subscription.replayed"]
        assert entries[0]["changes"][0]["after"] == {
            "queued": 3, "again": 0, "kept": 0, "cursor": 3, "force": False,
        }  # fmt: skip
        for nonsense in ({}, {"since": PAST, "after": 0}, {"after": -1}, {"since": "yesterday"}):
            assert (await api.call("POST", f"{path}/replay", nonsense)).status_code == 422
        await api.call("PATCH", path, {"paused": True})
        assert (await api.call("POST", f"{path}/replay", {"after": 0})).json()["code"] == "subscription_inactive"


async def test_a_replay_says_when_events_are_gone(api: Api) -> None:
    made = await api.subscribe("http://127.0.0.1:9/", model="nothing")
    await api.running.tell(available(1), available(2))
    await api.notifier.pool.execute("DELETE FROM event_feed WHERE seq = 1")
    await api.notifier.pool.execute("UPDATE feed_state SET pruned_through = 1")

    async def pruned(**start: Any) -> bool:
        done = await api.call("POST", f"/subscriptions/{made['id']}/replay", start)
        return bool(done.json()["pruned"])

    assert await pruned(since=PAST)
    assert not await pruned(after=0)
    assert not await pruned(after=1)
    assert not await pruned(since=(datetime.now(UTC) + timedelta(hours=1)).isoformat())


async def test_an_attempt_keeps_the_digest_of_what_was_sent(api: Api) -> None:
    from hashlib import sha256

    async with Receiver() as receiver:
        made = await api.subscribe(receiver.url)
        await api.running.tell(available(1))
        await api.notifier.settled("delivered")
    [delivery] = (await api.call("GET", f"/subscriptions/{made['id']}/deliveries")).json()["items"]
    assert delivery["attempts"][0]["request_sha256"] == sha256(receiver.requests[0].body).hexdigest()


async def test_people_hear_once_that_a_subscription_fails_and_once_that_it_recovered(notifier: Notifier) -> None:
    import dataclasses

    from .conftest import PACE

    async with (
        Receiver(behaviour=answer(503)) as receiver,
        notifier.running(dataclasses.replace(PACE, failing_after_s=0.0)) as running,
    ):
        failing = await notifier.subscribe(receiver.url)
        await running.tell(available(1), available(2))
        await notifier.settled("dead", "dead")
        assert await notifier.pool.fetchval("SELECT failing_since IS NOT NULL FROM subscription")
        receiver.behaviour = answer(200)
        await running.tell(available(3))
        await notifier.settled("dead", "dead", "delivered")
        rows = await eventually(lambda: _audit(notifier, 2))
    assert [row["action"] for row in rows] == ["subscription.failing", "subscription.recovered"]
    assert {row["resource"] for row in rows} == {f"subscriptions/{failing}"}
    assert rows[0]["reason"] == "status 503"
    assert not await notifier.pool.fetchval("SELECT failing_since IS NOT NULL FROM subscription")


async def test_a_short_failure_is_no_alarm(notifier: Notifier) -> None:
    async with Receiver(script=[answer(500)] * 3) as receiver, notifier.running() as running:
        await notifier.subscribe(receiver.url)
        await running.tell(available(1))
        await notifier.settled("delivered")
    assert await _audit(notifier, 0) == []


async def _audit(notifier: Notifier, count: int) -> list[dict[str, Any]]:
    rows = [json.loads(row["payload"]) for row in await notifier.pool.fetch("SELECT payload FROM outbox ORDER BY seq")]
    return rows if len(rows) >= count else []
