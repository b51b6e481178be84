"""The routes of subscriptions: what is taken, changed and refused, and what is audited of it."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from standardwebhooks import Webhook

from .conftest import available, eventually
from .http_bench import Api, api
from .receiver import Receiver, answer

__all__ = ["api"]


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
