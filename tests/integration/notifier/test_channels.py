"""Each channel against a real receiver: what arrives, what is retried, what the test button shows, what stays secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from muniment.adapters.kafka import KafkaConnection
from muniment.adapters.kafka_guest import GuestPublisher
from muniment.contracts import topics
from muniment.contracts.cloudevent import CloudEvent, decode
from muniment.notifier.addresses import AddressPolicy
from muniment.testing.smtp_sink import SmtpSink

from .channel_bench import TOKEN, hostile_event, mail_settings, serving, subscribe, tell_as_it_is, told
from .conftest import Notifier, available, eventually
from .receiver import Received, Receiver, answer


@pytest.mark.parametrize(
    ("channel", "texts"),
    [
        ("slack", lambda body: (body["text"], body["blocks"][0]["text"]["text"])),
        ("teams", lambda body: (body["attachments"][0]["content"]["body"][0]["inlines"][0]["text"],)),
    ],
)
async def test_chat_gets_a_message_and_its_url_stays_secret(
    notifier: Notifier, channel: str, texts: Callable[[Any], tuple[str, ...]]
) -> None:
    async with Receiver(behaviour=answer(200, b"ok")) as receiver, serving(notifier) as api:
        url = f"http://127.0.0.1:{receiver.port}/services/{TOKEN}"
        made = await subscribe(api, channel, url=url, title="{model} {number} is out")
        assert made["secret"] is None
        assert made["url"].startswith(f"http://127.0.0.1:{receiver.port}/… (sha256 ")
        await api.running.tell(available(3))
        [got] = await receiver.wait_for(1)
        assert got.line == f"POST /services/{TOKEN} HTTP/1.1"
        assert got.headers["content-type"] == "application/json"
        assert set(texts(json.loads(got.body))) == {"digits 3 is out"}
        await notifier.settled("delivered")
        await tell_as_it_is(api, made["id"], hostile_event())
        await receiver.wait_for(2)
        assert b"<!channel>" not in receiver.requests[1].body or channel == "teams"
        assert b"eve@evil.example \\u202e" not in receiver.requests[1].body
        assert len(receiver.requests[1].body) < 28_000

        trial = (await api.call("POST", f"/subscriptions/{made['id']}/test")).json()
        assert trial["delivered"] is True
        assert trial["request"]["body"] == receiver.requests[2].body.decode()
        assert trial["request"]["headers"] == {"content-type": "application/json"}
        assert trial["answer"]["body"] == "ok"
        rotated = await api.call("POST", f"/subscriptions/{made['id']}/secret", {})
        assert (rotated.status_code, rotated.json()["code"]) == (409, "secret_unused")
        changed = await api.call("PATCH", f"/subscriptions/{made['id']}", {"url": f"{url}-2", "title": None})
        assert changed.json()["title"] is None
        await api.running.tell(available(4))
        got = (await receiver.wait_for(4))[3]
        assert got.line == f"POST /services/{TOKEN}-2 HTTP/1.1"
        assert set(texts(json.loads(got.body))) == {"digits 4 is available"}
        await notifier.settled("delivered", "delivered", "delivered")
        assert TOKEN not in json.dumps([made, trial]) + await told(api, made)


@pytest.mark.parametrize("channel", ["webhook", "slack", "teams"])
async def test_a_name_that_leads_inside_is_not_called(notifier: Notifier, channel: str) -> None:
    """Whatever the channel: the name was public when it was taken and is private when it is called, or half of it is."""
    answers = [["1.1.1.1", "127.0.0.1"], ["127.0.0.1"], ["::ffff:127.0.0.1"], ["169.254.169.254"]]

    async def resolve(host: str, port: int) -> list[str]:
        return answers[0]

    async with Receiver() as receiver, serving(notifier, policy=AddressPolicy(), resolve=resolve) as api:
        made = await subscribe(api, channel, url=f"https://hooks.example:{receiver.port}/x")
        while answers:
            trial = (await api.call("POST", f"/subscriptions/{made['id']}/test")).json()
            assert (trial["error"], trial["answer"]) == ("address_refused", None)
            answers.pop(0)
        refused = await api.call(
            "POST", "/subscriptions", {"name": "b", "channel": channel, "url": f"https://127.0.0.1:{receiver.port}/"}
        )
        assert (refused.status_code, refused.json()["code"]) == (422, "address_refused")
        assert receiver.connections == 0


def mlflow_verified(got: Received, secret: str) -> Any:
    """The body, checked as a receiver of MLflow's webhooks checks it."""
    signed = f"{got.headers['x-mlflow-delivery-id']}.{got.headers['x-mlflow-timestamp']}.{got.body.decode()}"
    digest = hmac.new(secret.encode("utf-8"), signed.encode("utf-8"), hashlib.sha256).digest()
    assert got.headers["x-mlflow-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    return json.loads(got.body)


def changed(kind: str, event_id: str, **data: Any) -> CloudEvent:
    body = {"kind": kind, "model": "digits", "operator": "muniment|ada", **data}
    return CloudEvent(
        id=event_id,
        source="/muniment/registry",
        type=topics.REGISTRY_CHANGED.type,
        data=json.dumps(body).encode(),
        time="2026-11-23T12:00:00.000000Z",
    )


async def test_mlflow_receivers_get_what_mlflow_would_have_sent(notifier: Notifier) -> None:
    async with Receiver(script=[answer(500)]) as receiver, serving(notifier) as api:
        made = await subscribe(api, "webhook", url=receiver.url, format="mlflow")
        secret = made["secret"]
        await api.running.tell(available(3))
        first, again = await receiver.wait_for(2)
        body = mlflow_verified(first, secret)
        assert (body["entity"], body["action"]) == ("model_version", "created")
        assert (body["data"]["name"], body["data"]["version"]) == ("digits", "3")
        assert again.body == first.body
        assert again.headers["x-mlflow-delivery-id"] == first.headers["x-mlflow-delivery-id"] == first.id
        tags = [{"path": "tags/a", "after": "1"}, {"path": "tags/b", "before": "2"}]
        await api.running.tell(changed("version-changed", "c1", number=3, changes=tags))
        one, two = (await receiver.wait_for(4))[2:]
        assert [(mlflow_verified(got, secret)["action"]) for got in (one, two)] == ["set", "deleted"]
        assert two.id == f"{one.id}-1"
        await api.running.tell(changed("branch-moved", "c2"))  # nothing that MLflow tells of
        await notifier.settled(*["delivered"] * 3)
        [skipped] = [row for row in await notifier.attempts() if row["status"] is None]
        assert "nothing was sent" in skipped["detail"]
        rotated = (await api.call("POST", f"/subscriptions/{made['id']}/secret", {})).json()
        trial = (await api.call("POST", f"/subscriptions/{made['id']}/test")).json()
        assert trial["delivered"] is True
        got = (await receiver.wait_for(5))[4]
        mlflow_verified(got, rotated["secret"])
        assert len(got.headers["webhook-signature"].split(" ")) == 2
        assert trial["request"]["headers"].items() <= got.headers.items()


def ed25519_verified(got: Received, public: str) -> bool:
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    for item in got.headers["webhook-signature"].split(" "):
        version, _, signature = item.partition(",")
        assert version == "v1a"
        try:
            key.verify(base64.b64decode(signature), signed)
        except InvalidSignature:
            continue
        return True
    return False


async def test_ed25519_deliveries_verify_with_the_public_keys_that_anyone_may_read_again(notifier: Notifier) -> None:
    async with Receiver() as receiver, serving(notifier) as api:
        made = await subscribe(api, "webhook", url=receiver.url, signing="ed25519")
        assert made["secret"] is None
        [old] = made["public_keys"]
        path = f"/subscriptions/{made['id']}"
        assert (await api.call("GET", path)).json() == {k: v for k, v in made.items() if k != "secret"}
        rotated = (await api.call("POST", f"{path}/secret", {"old_valid_hours": 1})).json()
        assert rotated["secret"] is None
        new = rotated["public_key"]
        assert (await api.call("GET", "/subscriptions")).json()["items"][0]["public_keys"] == [new, old]
        await api.running.tell(available(1))
        [got] = await receiver.wait_for(1)
        assert ed25519_verified(got, old)
        assert ed25519_verified(got, new)
        last = (await api.call("POST", f"{path}/secret", {"old_valid_hours": 0})).json()["public_key"]
        assert (await api.call("GET", path)).json()["public_keys"] == [last]
        await api.running.tell(available(2))
        got = (await receiver.wait_for(2))[1]
        assert ed25519_verified(got, last)
        assert not ed25519_verified(got, new)
        rows = await notifier.pool.fetch("SELECT * FROM subscription_secret")
        assert "whsk_" not in repr([dict(row) for row in rows]) + await told(api, made)


async def test_a_topic_of_ones_own_gets_the_event_under_its_id(
    notifier: Notifier, kafka: KafkaConnection, topic_prefix: str
) -> None:
    name = f"{topic_prefix}deployer"
    admin = AIOKafkaAdminClient(**kafka.options())
    await admin.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(admin.close)
        await admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1)])
        guest = await stack.enter_async_context(GuestPublisher(kafka))
        api = await stack.enter_async_context(serving(notifier, guest=guest, topic_prefixes=frozenset({topic_prefix})))
        made = await subscribe(api, "kafka", topic=name)
        missing = await subscribe(api, "kafka", topic=f"{topic_prefix}missing")
        event = available(3)
        await api.running.tell(event)

        async def arrived() -> bool:
            return "delivered" in await notifier.states()

        await eventually(arrived)  # though the other topic does not exist
        trial = (await api.call("POST", f"/subscriptions/{missing['id']}/test")).json()
        assert (trial["error"], trial["request"]["method"]) == ("topic_unknown", "PRODUCE")
        assert f"{topic_prefix}missing" not in await admin.list_topics()
        consumer = AIOKafkaConsumer(name, **kafka.options(), auto_offset_reset="earliest")
        await consumer.start()
        stack.push_async_callback(consumer.stop)
        record = await consumer.getone()
        got = decode(record.headers, record.value)
        assert (got.id, got.source, got.type, got.time) == (event.id, event.source, event.type, event.time)
        assert json.loads(got.data) == json.loads(event.data)
        assert record.key == b"digits"
        delivery = await notifier.pool.fetchval(
            "SELECT id FROM delivery WHERE subscription_id = $1", uuid.UUID(made["id"])
        )
        assert dict(record.headers)["muniment-delivery-id"] == str(delivery).encode()


async def test_rows_that_cannot_be_read_fail_alone(notifier: Notifier) -> None:
    broken = {
        "slack": {"sealed_url": "AAAA", "shown_url": "x"},
        "teams": {},
        "email": {"email": "a@x.example\r\nRCPT TO:<eve@evil.example>"},
        "kafka": {"topic": "muniment.version-available.v1"},
        "apprise": {"sealed_url": 3},
        "pigeon": {},
    }
    async with (
        Receiver() as receiver,
        SmtpSink() as sink,
        serving(notifier, smtp=mail_settings(sink, security="none")) as api,
    ):
        await subscribe(api, "webhook", url=receiver.url)
        for channel, config in broken.items():
            await notifier.pool.execute(
                "INSERT INTO subscription (id, name, channel, config, filter, owner, created_at, updated_at)"
                " VALUES ($1, $2, $2, $3, '{}', 'o', now(), now())",
                uuid.uuid4(),
                channel,
                json.dumps(config),
            )
        await notifier.pool.execute("UPDATE feed_state SET subscriptions_version = subscriptions_version + 1")
        await api.running.tell(available())
        await notifier.settled("delivered", *["dead"] * len(broken))
        assert len(receiver.requests) == 1
        assert sink.commands == []
        assert (await api.call("GET", "/subscriptions")).status_code == 200
