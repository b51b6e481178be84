"""The routes of secrets, tests, deliveries and the feed, and who may do what."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest
from standardwebhooks import Webhook

from .conftest import available, eventually
from .http_bench import Api, api
from .receiver import Receiver, answer, hang

__all__ = ["api"]


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
