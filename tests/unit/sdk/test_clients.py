"""One logic, two clients: the same methods, the same results."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from muniment.contracts.errors import MunimentError, Transient
from muniment.sdk import AsyncClient, Client
from muniment.testing.fake_registry import FakeRegistry, Hangup


@pytest.fixture
async def async_client(registry: FakeRegistry) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(registry.url, "secret-token") as client:
        yield client


def public(kind: type[Any]) -> dict[str, list[str]]:
    return {
        name: list(inspect.signature(method).parameters)
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and name not in {"close", "aclose"}
    }


def test_both_have_the_same_methods() -> None:
    assert public(Client) == public(AsyncClient)


def test_methods_are_coroutines_or_iterators_where_they_should_be() -> None:
    for name in public(Client):
        answers = inspect.signature(getattr(Client, name)).return_annotation
        method = getattr(AsyncClient, name)
        if answers.startswith("Iterator"):
            assert inspect.signature(method).return_annotation == f"Async{answers}", name
        else:
            assert inspect.iscoroutinefunction(method), name


async def test_publish_and_download_from_asyncio(
    registry: FakeRegistry, async_client: AsyncClient, folder: Path
) -> None:
    publication = await async_client.publish(folder, model="digits")
    assert publication.version is not None
    await async_client.download("digits/1", folder.with_name("back"))
    assert (await async_client.verify("digits/1", folder.with_name("back"))).ok
    assert [version.number async for version in async_client.versions("digits")] == [1]


async def test_errors_come_through_from_asyncio(async_client: AsyncClient, tmp_path: Path) -> None:
    with pytest.raises(MunimentError) as caught:
        await async_client.publish(tmp_path / "nowhere", model="digits")
    assert caught.value.code == "file_missing"
    with pytest.raises(MunimentError) as caught:
        await async_client.version("digits/9")
    assert caught.value.code == "reference_not_found"


async def test_a_cancelled_publish_stops_its_threads(
    registry: FakeRegistry, async_client: AsyncClient, folder: Path
) -> None:
    uploading = asyncio.Event()
    go_on = threading.Event()
    loop = asyncio.get_running_loop()

    def hold(request: httpx2.Request) -> None:
        if request.method == "PUT":
            loop.call_soon_threadsafe(uploading.set)
            assert go_on.wait(10)
            raise Hangup  # would be tried again, were it not called off

    registry.intercept = hold
    task = asyncio.create_task(async_client.publish(folder, model="digits"))
    await asyncio.wait_for(uploading.wait(), 10)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    tried = registry.count("PUT", "")
    assert tried <= 2, "each file at most once"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("muniment")]


def test_lists_are_read_page_by_page(registry: FakeRegistry, client: Client) -> None:
    registry.lists["models"] = [{"name": f"m{number}"} for number in range(5)]
    models = client.models()
    assert next(models).name == "m0"
    assert registry.count("GET", "/models") == 1, "the next page is not asked for before it is needed"
    assert [model.name for model in models] == ["m1", "m2", "m3", "m4"]
    assert registry.count("GET", "/models") == 3


def test_an_answer_without_its_fields_says_which(registry: FakeRegistry, client: Client) -> None:
    registry.lists["models"] = [{"title": "no name"}]
    with pytest.raises(MunimentError) as caught:
        list(client.models())
    assert caught.value.code == "answer_unexpected"
    assert "name" in caught.value.message


def test_fields_of_a_newer_server_are_kept(registry: FakeRegistry, client: Client) -> None:
    registry.lists["models"] = [{"name": "m", "mood": "fine"}]
    assert next(client.models()).raw["mood"] == "fine"


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("GET", "/api/v1/subscriptions/s%2F1", lambda c: c.subscription("s/1")),
        ("POST", "/api/v1/subscriptions", lambda c: c.create_subscription({"name": "n"})),
        ("PATCH", "/api/v1/subscriptions/s", lambda c: c.change_subscription("s", {"paused": True})),
        ("DELETE", "/api/v1/subscriptions/s", lambda c: c.delete_subscription("s")),
        ("POST", "/api/v1/subscriptions/s/test", lambda c: c.test_subscription("s")),
        ("POST", "/api/v1/subscriptions/s/secret", lambda c: c.rotate_secret("s")),
        ("POST", "/api/v1/deliveries/d/retry", lambda c: c.retry_delivery("d")),
        ("POST", "/api/v1/tokens", lambda c: c.create_token({"name": "ci"})),
        ("DELETE", "/api/v1/tokens/ci", lambda c: c.revoke_token("ci")),
        ("POST", "/api/v1/publisher-keys", lambda c: c.create_publisher_key({"account": "a"})),
        ("DELETE", "/api/v1/publisher-keys/k", lambda c: c.revoke_publisher_key("k")),
        ("GET", "/api/v1/dead-letters/ingest/d", lambda c: c.dead_letter("ingest", "d")),
        ("POST", "/api/v1/dead-letters/ingest/d/retry", lambda c: c.retry_dead_letter("ingest", "d")),
        ("POST", "/api/v1/candidates/p/refuse", lambda c: c.refuse("p", reason="worse")),
        ("GET", "/api/v1/audit/entries/7", lambda c: c.audit_entry(7).raw),
        ("GET", "/api/v1/models/a%20b", lambda c: c.model("a b").raw),
        ("GET", "/version", lambda c: c.server_version()),
    ],
)
def test_each_operation_asks_for_its_place(
    registry: FakeRegistry, client: Client, method: str, path: str, call: Any
) -> None:
    answer = {"index": 7, "leaf_hash": "cd", "name": "a b", "fine": True}
    seen: list[tuple[str, str]] = []

    def look(request: httpx2.Request) -> httpx2.Response:
        seen.append((request.method, request.url.raw_path.decode()))
        return httpx2.Response(204) if request.method == "DELETE" else httpx2.Response(200, json=answer)

    registry.intercept = look
    found = call(client)
    assert seen == [(method, path)]
    assert found in (answer, None)


def test_requests_go_to_the_service_that_answers_them(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    places = ",".join(f"{name}={registry.url}/at-{name}" for name in ("registry", "audit", "notifier"))
    monkeypatch.setenv("MUNIMENT_URLS", places)
    monkeypatch.setenv("MUNIMENT_TOKEN", "t")
    asked: list[str] = []

    def look(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        return httpx2.Response(200, json={"items": [], "next_page_token": None})

    registry.intercept = look
    with Client() as client:
        for items in (client.models(), client.audit_entries(), client.subscriptions(), client.dead_letters("audit")):
            assert list(items) == []
    assert asked == [
        "/at-registry/api/v1/models",
        "/at-audit/api/v1/audit/entries",
        "/at-notifier/api/v1/subscriptions",
        "/at-audit/api/v1/dead-letters/audit",
    ]


def test_a_server_that_is_not_there() -> None:
    with Client("http://127.0.0.1:9", "t") as client, pytest.raises(Transient) as caught:
        client.model("digits")
    assert caught.value.code == "server_unreachable"
    assert "muniment up" in str(caught.value.hint)


async def test_redirects_are_not_followed(registry: FakeRegistry, client: Client, async_client: AsyncClient) -> None:
    registry.intercept = lambda _: httpx2.Response(302, headers={"location": f"{registry.url}/elsewhere"})
    with pytest.raises(MunimentError) as caught:
        client.model("digits")
    assert caught.value.code == "answer_unexpected"
    with pytest.raises(MunimentError) as caught:
        await async_client.model("digits")
    assert caught.value.code == "answer_unexpected"
    assert len(registry.requests) == 2


async def test_an_answer_without_end_is_cut(
    registry: FakeRegistry, client: Client, async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniment.sdk.transport.MAX_ANSWER", 10)
    registry.lists["models/digits"] = [{"name": "digits"}]
    with pytest.raises(MunimentError) as caught:
        client.model("digits")
    assert caught.value.code == "answer_too_large"
    with pytest.raises(MunimentError) as caught:
        await async_client.model("digits")
    assert caught.value.code == "answer_too_large"


async def test_a_lost_answer_is_retried_where_that_is_safe(
    registry: FakeRegistry, client: Client, async_client: AsyncClient
) -> None:
    def hang_up(_: httpx2.Request) -> None:
        raise Hangup

    registry.intercept = hang_up
    async_client._sleep = lambda _seconds: asyncio.sleep(0)  # type: ignore[assignment]  # reason: no waiting here
    with pytest.raises(Transient) as caught:
        client.model("digits")
    assert caught.value.code == "server_unreachable"
    with pytest.raises(Transient) as caught:
        await async_client.model("digits")
    assert caught.value.code == "server_unreachable"
    assert len(registry.requests) == 12
    with pytest.raises(Transient) as caught:
        client.create_token({"name": "ci"})
    assert caught.value.code == "outcome_unknown"
    with pytest.raises(Transient) as caught:
        await async_client.create_token({"name": "ci"})
    assert caught.value.code == "outcome_unknown"
    assert len(registry.requests) == 14
