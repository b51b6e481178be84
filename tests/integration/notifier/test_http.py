"""The routes: what writers and readers can do, what is refused, and that secrets are told once and audited never."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from prometheus_client import CollectorRegistry
from standardwebhooks import Webhook

from muniment.contracts.errors import Unauthenticated
from muniment.contracts.identity import Principal, Role
from muniment.notifier.channels.webhook import WebhookChannel
from muniment.notifier.http import router
from muniment.notifier.subscriptions import Subscriptions
from muniment.ports.clock import SystemClock
from muniment.runtime.http.app import build_app
from muniment.runtime.metrics import Metrics

from .conftest import PACE, Notifier, Running, available, eventually
from .receiver import Receiver, answer, hang

ROLES: tuple[Role, ...] = ("reader", "writer", "auditor", "admin")


class Tokens:
    """Each role's name is its token."""

    async def authenticate(self, token: str) -> Principal:
        if token not in ROLES:
            raise Unauthenticated("token_invalid", "no such token")
        return Principal(f"muniment|{token}", frozenset({token}), "token")


@dataclass
class Api:
    """The service's HTTP surface with its worker behind it."""

    client: httpx2.AsyncClient
    running: Running
    notifier: Notifier

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str = "writer", **options: Any
    ) -> httpx2.Response:
        headers = {"authorization": f"Bearer {token}", **options.pop("headers", {})}
        content = None if body is None else json.dumps(body).encode()
        return await self.client.request(method, f"/api/v1{path}", content=content, headers=headers, **options)

    async def subscribe(self, url: str, **fields: Any) -> dict[str, Any]:
        made = await self.call("POST", "/subscriptions", {"name": f"n{uuid.uuid4()}", "url": url, **fields})
        assert made.status_code == 201, made.text
        return dict(made.json())

    async def audit(self) -> list[dict[str, Any]]:
        rows = await self.notifier.pool.fetch("SELECT payload FROM outbox ORDER BY seq")
        return [json.loads(row["payload"]) for row in rows]


@pytest.fixture
async def api(notifier: Notifier) -> AsyncIterator[Api]:
    async with AsyncExitStack() as stack:
        webhooks: list[WebhookChannel] = []

        def keep(webhook: WebhookChannel) -> dict[str, WebhookChannel]:
            webhooks.append(webhook)
            return {"webhook": webhook}

        running = await stack.enter_async_context(notifier.running(channels=keep))

        def wake(subscriptions: Any) -> None:
            running.deliverer.wake(subscriptions)

        subscriptions = Subscriptions(
            running.transactions, {"webhook": webhooks[0]}, notifier.sealer, SystemClock(), wake, PACE.timeout_s
        )
        app = build_app(
            version="0",
            routers=[router(subscriptions, running.feed)],
            identity=Tokens(),
            ready={},
            metrics=Metrics(CollectorRegistry()),
        )
        client = await stack.enter_async_context(
            httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://muniment.test")
        )
        yield Api(client, running, notifier)


async def test_subscribing_tells_the_secret_once_and_delivers(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with Receiver() as receiver:
        made = await api.call(
            "POST",
            "/subscriptions",
            {"name": "deployer", "url": receiver.url, "model": "dig*", "types": ["version-available"]},
        )
        assert made.status_code == 201
        assert made.headers["etag"] == '"1"'
        secret = made.json()["secret"]
        await api.running.tell(available(1))
        [request] = await receiver.wait_for(1)
        Webhook(secret).verify(request.body, request.headers)
        await api.notifier.settled("delivered")
    one = await api.call("GET", f"/subscriptions/{made.json()['id']}")
    everything = await api.call("GET", "/subscriptions")
    assert one.json() == {name: value for name, value in made.json().items() if name != "secret"}
    assert everything.json() == {"items": [one.json()], "next_page_token": None}
    stored = await api.notifier.pool.fetch("SELECT s.*, x.sealed FROM subscription s, subscription_secret x")
    told = json.dumps([one.json(), everything.json(), await api.audit()]) + caplog.text + repr(stored)
    assert secret not in told
    assert secret.removeprefix("whsec_") not in told


async def test_every_change_is_audited_without_paths_or_queries(api: Api) -> None:
    made = await api.subscribe("http://127.0.0.1:9/token-in-path?key=token-in-query", name="one")
    path = f"/subscriptions/{made['id']}"
    await api.call("PATCH", path, {"model": "digits", "url": "http://127.0.0.1:9/other-token"})
    await api.call("POST", f"{path}/secret", {})
    await api.call("DELETE", path)
    entries = await api.audit()
    assert [entry["action"] for entry in entries] == [
        "subscription.created",
        "subscription.changed",
        "subscription.secret-rotated",
        "subscription.deleted",
    ]
    assert {entry["operator"] for entry in entries} == {"muniment|writer"}
    assert {entry["resource"] for entry in entries} == {f"subscriptions/{made['id']}"}
    assert all(entry["cause"]["kind"] == "request" for entry in entries)
    assert {change["path"] for change in entries[1]["changes"]} == {"filter", "url"}
    assert "token" not in json.dumps([entry["changes"] for entry in entries])
    assert "http://127.0.0.1:9/" in json.dumps(entries)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"url": "https://user:pass@example.com/"}, "url_invalid"),
        ({"url": "ftp://example.com/"}, "url_invalid"),
        ({"url": "https://10.0.0.1/"}, "address_refused"),
        ({"url": "https://[::ffff:169.254.169.254]/"}, "address_refused"),
        ({"model": "dig[it]s"}, "filter_invalid"),
        ({"types": ["training-completed"]}, "filter_invalid"),
        ({"stability": "firm"}, "filter_invalid"),
        ({"channel": "pigeon"}, "schema_invalid"),
        ({"name": ""}, "schema_invalid"),
        ({"name": "a\u202eb"}, "text_invalid"),
        ({"url": None}, "url_invalid"),
        ({"surprise": 1}, "schema_invalid"),
        ({"types": ["version-available"] * 51}, "schema_invalid"),
    ],
)
async def test_what_could_never_work_is_refused_and_leaves_nothing(api: Api, fields: dict[str, Any], code: str) -> None:
    refused = await api.call("POST", "/subscriptions", {"name": "x", "url": "http://127.0.0.1:9/", **fields})
    assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert (await api.call("GET", "/subscriptions")).json()["items"] == []
    assert await api.audit() == []


async def test_names_are_taken_without_regard_to_case_and_free_again_after_deletion(api: Api) -> None:
    made = await api.subscribe("http://127.0.0.1:9/", name="Deployer")
    taken = await api.call("POST", "/subscriptions", {"name": "deployer", "url": "http://127.0.0.1:9/"})
    assert (taken.status_code, taken.json()["code"]) == (409, "subscription_exists")
    other = await api.subscribe("http://127.0.0.1:9/", name="other")
    renamed = await api.call("PATCH", f"/subscriptions/{other['id']}", {"name": "DEPLOYER"})
    assert (renamed.status_code, renamed.json()["code"]) == (409, "subscription_exists")
    assert (await api.call("DELETE", f"/subscriptions/{made['id']}")).status_code == 204
    await api.subscribe("http://127.0.0.1:9/", name="deployer")
    for method in ("GET", "DELETE"):
        assert (await api.call(method, f"/subscriptions/{made['id']}")).status_code == 404


async def test_changes_merge_and_null_takes_a_filter_away(api: Api) -> None:
    made = await api.subscribe("http://127.0.0.1:9/", model="digits", branch="main")
    path = f"/subscriptions/{made['id']}"
    changed = await api.call("PATCH", path, {"branch": None, "stability": "stable"})
    assert changed.status_code == 200
    fields = changed.json()
    assert (fields["model"], fields["branch"], fields["stability"], fields["version"]) == ("digits", None, "stable", 2)
    assert changed.headers["etag"] == '"2"'
    same = await api.call("PATCH", path, {"stability": "stable"})
    assert same.json()["version"] == 2
    for nonsense in ({"url": None}, {"name": None}, {"paused": None}, {"paused": "yes"}, {"state": "deleted"}):
        assert (await api.call("PATCH", path, nonsense)).status_code == 422
    assert (await api.call("PATCH", path, {"url": "https://10.0.0.1/"})).json()["code"] == "address_refused"


async def test_a_subscription_can_be_handed_to_another_owner(api: Api) -> None:
    made = await api.subscribe("http://127.0.0.1:9/")
    path = f"/subscriptions/{made['id']}"
    changed = await api.call("PATCH", path, {"owner": "https://login.test|bob"})
    assert (changed.status_code, changed.json()["owner"]) == (200, "https://login.test|bob")
    assert (await api.call("GET", path)).json()["owner"] == "https://login.test|bob"
    [change] = (await api.audit())[-1]["changes"]
    assert change == {"path": "owner", "before": "muniment|writer", "after": "https://login.test|bob"}
    for nonsense in (None, "bob", "|bob", "muniment|", "a|b|c"):
        assert (await api.call("PATCH", path, {"owner": nonsense})).status_code == 422


async def test_a_change_names_the_state_it_means(api: Api) -> None:
    made = await api.subscribe("http://127.0.0.1:9/")
    path = f"/subscriptions/{made['id']}"
    first = await api.call("PATCH", path, {"model": "a"}, headers={"if-match": '"1"'})
    late = await api.call("PATCH", path, {"model": "b"}, headers={"if-match": '"1"'})
    assert (first.status_code, late.status_code, late.json()["code"]) == (200, 412, "version_mismatch")
    assert late.json()["actual"] == '"2"'
    assert (await api.call("DELETE", path, headers={"if-match": '"1"'})).status_code == 412
    assert (await api.call("PATCH", path, {"model": "c"}, headers={"if-match": "*"})).status_code == 200
    assert (await api.call("DELETE", path, headers={"if-match": '"1", "3"'})).status_code == 204


async def test_concurrent_changes_lose_none(api: Api) -> None:
    made = await api.subscribe("http://127.0.0.1:9/")
    path = f"/subscriptions/{made['id']}"
    answers = await asyncio.gather(
        *(api.call("PATCH", path, {"model": f"m{number}"}, headers={"if-match": '"1"'}) for number in range(8))
    )
    assert sorted(found.status_code for found in answers) == [200] + [412] * 7


async def test_pausing_and_resuming(api: Api) -> None:
    async with Receiver() as receiver:
        made = await api.subscribe(receiver.url)
        path = f"/subscriptions/{made['id']}"
        assert (await api.call("PATCH", path, {"paused": True})).json()["state"] == "paused"
        await api.running.tell(available(1))
        assert await api.notifier.states() == []
        assert (await api.call("PATCH", path, {"paused": False})).json()["state"] == "active"
        await api.running.tell(available(2))
        await api.notifier.settled("delivered")
        receiver.behaviour = answer(410)
        await api.running.tell(available(3))

        async def disabled() -> bool:
            return bool((await api.call("GET", path)).json()["state"] == "disabled")

        await eventually(disabled)
        assert (await api.call("PATCH", path, {"paused": True})).json()["state"] == "disabled"
        back = (await api.call("PATCH", path, {"paused": False})).json()
        assert (back["state"], back["reason"]) == ("active", None)


async def test_rotation_keeps_the_old_secret_for_as_long_as_asked(api: Api) -> None:
    async with Receiver() as receiver:
        made = await api.subscribe(receiver.url)
        rotated = await api.call("POST", f"/subscriptions/{made['id']}/secret", {"old_valid_hours": 1})
        assert rotated.status_code == 200
        await api.running.tell(available(1))
        [request] = await receiver.wait_for(1)
    for secret in (made["secret"], rotated.json()["secret"]):
        Webhook(secret).verify(request.body, request.headers)
    for hours in (-1, 169, 1.5, "1", None):
        refused = await api.call("POST", f"/subscriptions/{made['id']}/secret", {"old_valid_hours": hours})
        assert refused.status_code == 422


async def test_the_test_button_shows_both_sides_and_leaves_no_delivery(api: Api) -> None:
    async with Receiver(behaviour=answer(418, b"I am a teapot\x00", X_Kind="pot")) as receiver:
        made = await api.subscribe(receiver.url)
        await api.call("PATCH", f"/subscriptions/{made['id']}", {"paused": True})
        shown = (await api.call("POST", f"/subscriptions/{made['id']}/test")).json()
        [request] = receiver.requests
    assert shown["request"]["url"] == receiver.url
    assert shown["request"]["body"].encode() == request.body
    assert request.headers.items() >= shown["request"]["headers"].items()
    Webhook(made["secret"]).verify(request.body, request.headers)
    assert json.loads(request.body)["type"] == "muniment.subscription-test.v1"
    assert (shown["delivered"], shown["answer"]["status"]) == (False, 418)
    assert shown["answer"]["headers"]["x-kind"] == "pot"
    assert shown["answer"]["body"].startswith("I am a teapot")
    assert await api.notifier.states() == []


async def test_the_test_button_tells_why_there_was_no_answer(api: Api) -> None:
    made = await api.subscribe("http://127.0.0.1:1/")
    shown = (await api.call("POST", f"/subscriptions/{made['id']}/test")).json()
    assert (shown["delivered"], shown["error"], shown["answer"]) == (False, "connection_failed", None)
    assert shown["request"]["url"] == "http://127.0.0.1:1/"


async def test_deliveries_are_listed_with_their_attempts_and_tried_again(api: Api) -> None:
    async with Receiver(behaviour=answer(500, b"no")) as receiver:
        made = await api.subscribe(receiver.url)
        path = f"/subscriptions/{made['id']}/deliveries"
        for number in range(1, 4):
            await api.running.tell(available(number))
        await api.notifier.settled("dead", "dead", "dead")
        first = (await api.call("GET", path, params={"limit": 2})).json()
        second = (await api.call("GET", path, params={"limit": 2, "page_token": first["next_page_token"]})).json()
        items = first["items"] + second["items"]
        assert [item["cursor"] for item in items] == sorted((item["cursor"] for item in items), reverse=True)
        assert second["next_page_token"] is None
        assert len(items) == 3
        assert [attempt["number"] for attempt in items[0]["attempts"]] == list(range(1, 11))
        assert {(a["status"], a["excerpt"]) for item in items for a in item["attempts"]} == {(500, "no")}
        receiver.behaviour = answer(204)
        again = await api.call("POST", f"/deliveries/{items[0]['id']}/retry")
        assert again.status_code == 202
        await api.notifier.settled("dead", "dead", "delivered")
        listed = (await api.call("GET", path, params={"state": "delivered"})).json()["items"]
        assert [item["id"] for item in listed] == [items[0]["id"]]
        assert listed[0]["attempts"][-1]["number"] == 11
    done = await api.call("POST", f"/deliveries/{items[0]['id']}/retry")
    assert (done.status_code, done.json()["code"]) == (409, "delivery_done")
    unknown = await api.call("POST", f"/deliveries/{uuid.uuid4()}/retry")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "delivery_unknown")
    await api.call("PATCH", f"/subscriptions/{made['id']}", {"paused": True})
    paused = await api.call("POST", f"/deliveries/{items[1]['id']}/retry")
    assert (paused.status_code, paused.json()["code"]) == (409, "subscription_inactive")
    assert [entry["action"] for entry in await api.audit()].count("subscription.delivery-retried") == 1


async def test_subscriptions_are_listed_in_pages(api: Api) -> None:
    for number in range(5):
        await api.subscribe("http://127.0.0.1:9/", name=f"s{number}")
    names: list[str] = []
    token: str | None = None
    while True:
        page = (
            await api.call("GET", "/subscriptions", params={"limit": 2, **({"page_token": token} if token else {})})
        ).json()
        names += [item["name"] for item in page["items"]]
        token = page["next_page_token"]
        if token is None:
            break
    assert names == ["s4", "s3", "s2", "s1", "s0"]


async def test_a_failing_endpoint_is_shown_as_degraded_until_it_is_well(api: Api) -> None:
    async with Receiver(script=[answer(503, Retry_After="600")]) as receiver:
        made = await api.subscribe(receiver.url)
        path = f"/subscriptions/{made['id']}"
        await api.running.tell(available(1))

        async def degraded() -> Any:
            return (await api.call("GET", path)).json()["degraded_reason"]

        assert await eventually(degraded) == "status 503"
        await api.running.tell(available(2))

        async def well() -> bool:
            return (await api.call("GET", path)).json()["degraded_since"] is None

        await eventually(well)


async def test_the_feed_over_http(api: Api) -> None:
    await api.running.tell(available(1), available(1, model="other"))
    page = (await api.call("GET", "/events", token="reader", params={"after": 0, "model": "DIG*"})).json()
    [item] = page["items"]
    assert (item["type"], item["id"], item["model"], item["time"]) == (
        "muniment.version-available.v1",
        "digits-1",
        "digits",
        "2026-11-23T12:00:00.000000Z",
    )
    assert item["data"]["number"] == 1
    assert page["cursor"] > item["cursor"]
    waiting = asyncio.create_task(
        api.call("GET", "/events", token="reader", params={"after": page["cursor"], "wait": 30})
    )

    async def is_waiting() -> bool:
        return api.running.feed._waiting == 1

    await eventually(is_waiting)
    await api.running.tell(available(2))
    async with asyncio.timeout(10):
        assert [item["id"] for item in (await waiting).json()["items"]] == ["digits-2"]


@pytest.mark.parametrize(
    "params",
    [
        {"after": -1},
        {"after": 2**63},
        {"after": "x"},
        {"wait": 61},
        {"wait": "nan"},
        {"wait": -1},
        {"limit": 0},
        {"limit": 10**9},
        {"type": "nonsense"},
        {"after": 10},
    ],
)
async def test_the_feed_refuses_what_it_cannot_mean(api: Api, params: dict[str, Any]) -> None:
    assert (await api.call("GET", "/events", token="reader", params=params)).status_code == 422


async def test_readers_read_and_writers_write(api: Api) -> None:
    some = uuid.uuid4()
    routes = [
        ("POST", "/subscriptions"),
        ("GET", "/subscriptions"),
        ("GET", f"/subscriptions/{some}"),
        ("PATCH", f"/subscriptions/{some}"),
        ("DELETE", f"/subscriptions/{some}"),
        ("POST", f"/subscriptions/{some}/secret"),
        ("POST", f"/subscriptions/{some}/test"),
        ("GET", f"/subscriptions/{some}/deliveries"),
        ("POST", f"/deliveries/{some}/retry"),
    ]
    for method, path in routes:
        assert (await api.call(method, path, token="nobody")).status_code == 401
        assert (await api.call(method, path, token="reader")).status_code == 403
        assert (await api.call(method, path, token="auditor")).status_code == 403
    assert (await api.call("GET", "/events", token="nobody")).status_code == 401
    assert (await api.call("GET", "/events", token="reader")).status_code == 200


async def test_test_deliveries_by_hand_are_bounded(api: Api) -> None:
    async with Receiver(behaviour=hang) as receiver:
        made = await api.subscribe(receiver.url)
        calls = [asyncio.create_task(api.call("POST", f"/subscriptions/{made['id']}/test")) for _ in range(10)]
        await receiver.wait_for(4)
        assert len(receiver.requests) == 4
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
