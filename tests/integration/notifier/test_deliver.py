"""Deliveries to real sockets: what is tried again, what is not, and what one endpoint can do to another (nothing)."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from muniment.contracts.cloudevent import decode
from muniment.notifier import store
from muniment.notifier.channels import Message, Request
from muniment.notifier.posting import Answer
from muniment.notifier.sealing import new_secret

from .conftest import PACE, Notifier, available, eventually
from .receiver import Receiver, answer, hang, trickle

SLOW_RETRIES = dataclasses.replace(PACE, retry_scale=1.0)
IMPATIENT = dataclasses.replace(PACE, timeout_s=0.3)


async def test_an_event_arrives_signed_and_whole(notifier: Notifier) -> None:
    secret = new_secret()
    async with Receiver() as receiver, notifier.running() as running:
        await notifier.subscribe(receiver.url + "?a=b", secret=secret, model="dig*")
        event = available(3)
        await running.tell(event, available(1, model="other"))
        [request] = await receiver.wait_for(1)
        await notifier.settled("delivered")
    assert request.line == "POST /hook?a=b HTTP/1.1"
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert Webhook(secret).verify(request.body, request.headers)["data"]["number"] == 3
    again = decode([("content-type", request.headers["content-type"].encode())], request.body)
    assert (again.id, again.source, again.type, again.time) == (event.id, event.source, event.type, event.time)
    assert json.loads(again.data) == json.loads(event.data)
    [attempt] = await notifier.attempts()
    assert (attempt["number"], attempt["status"], attempt["error"]) == (1, 204, None)
    assert str(attempt["delivery_id"]) == request.id


async def test_failures_are_tried_again_under_the_same_id_and_a_new_time(notifier: Notifier) -> None:
    script = [answer(500, b"try\x00later"), answer(503), answer(404)]
    async with Receiver(script=script) as receiver, notifier.running() as running:
        await notifier.subscribe(receiver.url)
        await running.tell(available())
        await notifier.settled("delivered")
    assert len({request.id for request in receiver.requests}) == 1
    assert len({request.body for request in receiver.requests}) == 1
    attempts = await notifier.attempts()
    assert [attempt["status"] for attempt in attempts] == [500, 503, 404, 204]
    assert [attempt["number"] for attempt in attempts] == [1, 2, 3, 4]
    assert attempts[0]["excerpt"] == "try�later"


async def test_ten_failures_make_a_dead_letter_that_can_be_revived(notifier: Notifier) -> None:
    from muniment.notifier import ledger

    async with Receiver(behaviour=answer(500)) as receiver, notifier.running() as running:
        await notifier.subscribe(receiver.url)
        await running.tell(available())
        await notifier.settled("dead")
        assert len(receiver.requests) == 10
        receiver.behaviour = answer(200)
        async with running.transactions.begin() as tx:
            woken = await ledger.retry(tx.connection, uuid.UUID(receiver.requests[0].id))
            tx.after_commit(lambda: running.deliverer.wake([woken]))
        await notifier.settled("delivered")
    assert len(receiver.requests) == 11
    assert len({request.id for request in receiver.requests}) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_failures_and_never_followed(notifier: Notifier, status: int) -> None:
    async with Receiver() as elsewhere, Receiver() as receiver, notifier.running() as running:
        receiver.script = [answer(status, Location=elsewhere.url)]
        await notifier.subscribe(receiver.url)
        await running.tell(available())
        await notifier.settled("delivered")
    assert elsewhere.connections == 0
    assert [attempt["error"] for attempt in await notifier.attempts()] == ["redirect", None]


async def test_gone_disables_the_subscription_and_says_so(notifier: Notifier) -> None:
    async with Receiver(behaviour=answer(410)) as receiver, Receiver() as other, notifier.running() as running:
        gone = await notifier.subscribe(receiver.url)
        await notifier.subscribe(other.url)
        await running.tell(available(1))
        await notifier.settled("dead", "delivered")

        async def disabled() -> Any:
            return await notifier.pool.fetchval("SELECT reason FROM subscription WHERE state = 'disabled'")

        assert "410" in await eventually(disabled)
        await running.tell(available(2))
        await notifier.settled("dead", "delivered", "delivered")
    assert len(receiver.requests) == 1
    [entry] = await notifier.pool.fetch("SELECT payload FROM outbox")
    request = json.loads(entry["payload"])
    assert request["action"] == "subscription.disabled"
    assert request["resource"] == f"subscriptions/{gone}"
    assert request["operator"] == "muniment|notifier"


async def test_retry_after_is_honoured(notifier: Notifier) -> None:
    async with Receiver(behaviour=answer(429, Retry_After="3600")) as receiver, notifier.running() as running:
        await notifier.subscribe(receiver.url)
        before = datetime.now(UTC)
        await running.tell(available())

        async def put_off() -> Any:
            return await notifier.pool.fetchval(
                "SELECT due_at FROM delivery WHERE due_at > $1", before + timedelta(hours=0.5)
            )

        due = await eventually(put_off)
        assert timedelta(seconds=3590) < due - before < timedelta(seconds=3700)
        await running.tell(available(2))  # another delivery of the same subscription is not put off
        await receiver.wait_for(2)
    assert len({request.id for request in receiver.requests}) == 2


async def test_silence_ends_at_the_deadline(notifier: Notifier) -> None:
    async with Receiver(script=[hang]) as receiver, notifier.running(IMPATIENT) as running:
        await notifier.subscribe(receiver.url)
        await running.tell(available())
        await notifier.settled("delivered")
    first, second = await notifier.attempts()
    assert (first["status"], first["error"], second["status"]) == (None, "timeout", 204)
    assert first["latency_ms"] >= 300


async def test_a_trickle_does_not_stretch_the_deadline(notifier: Notifier) -> None:
    drip = trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0.1)
    async with Receiver(script=[drip]) as receiver, notifier.running(IMPATIENT) as running:
        await notifier.subscribe(receiver.url)
        await running.tell(available())
        await notifier.settled("delivered")
    assert [attempt["error"] for attempt in await notifier.attempts()] == ["timeout", None]


async def test_an_endless_body_after_success_is_success_and_lets_go(notifier: Notifier) -> None:
    async def endless(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nstart")
        await asyncio.Event().wait()

    async with Receiver(script=[endless]) as receiver, notifier.running() as running:
        await notifier.subscribe(receiver.url)
        await running.tell(available())
        await notifier.settled("delivered")
    [attempt] = await notifier.attempts()
    assert (attempt["status"], attempt["excerpt"]) == (200, "start")


async def test_a_huge_body_is_cut(notifier: Notifier) -> None:
    sent = 0

    async def flood(_: Any, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 104857600\r\n\r\n")
        chunk = b"x" * 65536
        for _number in range(1600):
            writer.write(chunk)
            await writer.drain()
            sent += len(chunk)

    async with Receiver(script=[flood]) as receiver, notifier.running() as running:
        await notifier.subscribe(receiver.url)
        await running.tell(available())
        await notifier.settled("delivered")
    first, _second = await notifier.attempts()
    assert (first["status"], first["excerpt"]) == (500, "x" * 1024)
    assert sent < 16 * 1024 * 1024  # socket buffers; the rest was never asked for


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 300_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    ],
    ids=["nothing", "nonsense", "no-status", "huge-header", "two-lengths"],
)
async def test_what_is_not_http_is_a_failure_like_any_other(notifier: Notifier, raw: bytes) -> None:
    async def broken(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        writer.transport.close()

    async with Receiver(script=[broken]) as receiver, notifier.running() as running:
        await notifier.subscribe(receiver.url)
        await running.tell(available())
        await notifier.settled("delivered")
    first, second = await notifier.attempts()
    assert first["status"] is None
    assert first["error"] in {"answer_malformed", "connection_failed"}
    assert second["status"] == 204


async def test_a_hanging_endpoint_with_a_backlog_delays_only_itself(notifier: Notifier) -> None:
    patient = dataclasses.replace(PACE, workers=4, timeout_s=60)
    async with Receiver(behaviour=hang) as hanging, Receiver() as well, notifier.running(patient) as running:
        for _ in range(3):  # as many subscriptions as could ever block the half of the slots
            await notifier.subscribe(hanging.url, model="stuck")
        await notifier.pool.execute("UPDATE subscription SET degraded_since = now(), degraded_reason = 'timeout'")
        healthy = await notifier.subscribe(well.url, model="digits")
        await running.tell(*(available(number, model="stuck") for number in range(1, 201)))
        await hanging.wait_for(2)
        for number in range(1, 21):
            await running.tell(available(number))
            await well.wait_for(number)
        assert len(hanging.requests) == 2  # half of the four slots, one for each degraded subscription
        states = await notifier.pool.fetch("SELECT state FROM delivery WHERE subscription_id = $1", healthy)
    assert len(states) == 20


async def test_a_degraded_endpoint_is_asked_one_thing_at_a_time(notifier: Notifier) -> None:
    patient = dataclasses.replace(PACE, workers=16, timeout_s=60)
    async with Receiver(behaviour=hang) as hanging, Receiver() as well, notifier.running(patient) as running:
        await notifier.subscribe(hanging.url, model="stuck")
        await notifier.pool.execute("UPDATE subscription SET degraded_since = now(), degraded_reason = 'timeout'")
        await notifier.subscribe(well.url, model="digits")
        await running.tell(*(available(number, model="stuck") for number in range(1, 51)))
        await hanging.wait_for(1)
        for number in range(1, 21):
            await running.tell(available(number, model="stuck"), available(number))
            await well.wait_for(number)
    assert len(hanging.requests) == 1


async def test_an_endpoint_that_begins_to_hang_takes_no_more_than_its_part(notifier: Notifier) -> None:
    patient = dataclasses.replace(PACE, workers=8, timeout_s=60)
    async with Receiver(behaviour=hang) as hanging, Receiver() as well, notifier.running(patient) as running:
        await notifier.subscribe(hanging.url, model="stuck")
        await notifier.subscribe(well.url, model="digits")
        await running.tell(*(available(number, model="stuck") for number in range(1, 101)))
        await hanging.wait_for(2)
        await running.tell(*(available(number) for number in range(1, 101)))
        await well.wait_for(100)
    assert len(hanging.requests) == 2
    assert Counter(request.id for request in well.requests).most_common(1)[0][1] == 1


async def test_both_secrets_sign_while_one_replaces_the_other(notifier: Notifier) -> None:
    old, new = new_secret(), new_secret()
    async with Receiver() as receiver, notifier.running() as running:
        subscription = await notifier.subscribe(receiver.url, secret=old)

        async def rotate(secret: str, old_until: datetime) -> None:
            async with running.transactions.begin() as tx:
                sealed = notifier.sealer.seal(secret, subscription)
                await store.rotate(tx.connection, subscription, sealed, now=tx.now, old_until=old_until)

        await rotate(new, datetime.now(UTC) + timedelta(hours=1))
        await running.tell(available(1))
        await receiver.wait_for(1)
        newest = new_secret()
        await rotate(newest, datetime.now(UTC))
        await running.tell(available(2))
        during, after = await receiver.wait_for(2)
    assert len(during.headers["webhook-signature"].split()) == 2
    for secret in (old, new):
        Webhook(secret).verify(during.body, during.headers)
    assert len(after.headers["webhook-signature"].split()) == 1
    Webhook(newest).verify(after.body, after.headers)


async def test_one_bad_row_breaks_no_other(notifier: Notifier) -> None:
    async with Receiver() as receiver, notifier.running() as running:
        no_secret = await notifier.subscribe(receiver.url, model="digits")
        await notifier.pool.execute(
            "UPDATE subscription_secret SET sealed = 'junk' WHERE subscription_id = $1", no_secret
        )
        no_url = await notifier.subscribe(receiver.url)
        await notifier.pool.execute("UPDATE subscription SET config = '{}' WHERE id = $1", no_url)
        no_channel = await notifier.subscribe(receiver.url, channel="pigeon")
        no_filter = await notifier.subscribe(receiver.url)
        await notifier.pool.execute("""UPDATE subscription SET filter = '{"model": 5}' WHERE id = $1""", no_filter)
        await notifier.pool.execute("UPDATE feed_state SET subscriptions_version = subscriptions_version + 1")
        private = await notifier.subscribe("https://10.0.0.1/hook")
        good = await notifier.subscribe(receiver.url)
        await running.tell(available())
        await notifier.settled("delivered", *["dead"] * 4)
    errors = {attempt["delivery_id"]: attempt["error"] for attempt in await notifier.attempts()}
    rows = await notifier.pool.fetch("SELECT id, subscription_id FROM delivery")
    assert {row["subscription_id"]: errors[row["id"]] for row in rows} == {
        no_secret: "secret_unreadable",
        no_url: "channel_failed",
        no_channel: "channel_unknown",
        private: "address_refused",
        good: None,
    }
    assert len(receiver.requests) == 1


async def test_an_outcome_that_the_database_does_not_take_spoils_no_other(notifier: Notifier) -> None:
    class Spoiling:
        """A channel whose answers cannot be stored for one model."""

        def __init__(self, webhook: Any) -> None:
            self.webhook = webhook

        def request(self, message: Message, at: datetime) -> Request:
            return self.webhook.request(message, at)  # type: ignore[no-any-return]  # reason: the real channel's

        async def send(self, request: Request) -> Answer:
            answered: Answer = await self.webhook.send(request)
            bad = "poison" in request.body
            return answered._replace(status=2**40 if bad else answered.status)

    many = dataclasses.replace(PACE, workers=32)

    def spoiling(webhook: Any) -> Any:
        return {"webhook": Spoiling(webhook)}

    async with Receiver() as receiver, notifier.running(many, channels=spoiling) as running:
        await notifier.subscribe(receiver.url)
        events = [available(number) for number in range(1, 20)]
        await running.tell(available(1, model="poison"), *events)
        await notifier.settled("pending", *["delivered"] * 19)
