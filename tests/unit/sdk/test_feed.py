from __future__ import annotations

from itertools import islice
from typing import Any

import httpx2
import pytest

from muniment.contracts.errors import Transient
from muniment.sdk import AsyncClient, Client
from muniment.testing.fake_registry import FakeRegistry, Hangup


def event(cursor: int) -> dict[str, Any]:
    return {"cursor": cursor, "type": "muniment.version-available.v1", "id": f"e{cursor}", "model": "digits"}


def test_events_are_followed_from_a_cursor(registry: FakeRegistry, client: Client) -> None:
    registry.events = [event(1), event(2), event(3)]
    assert [item.id for item in client.events(1, follow=False)] == ["e2", "e3"]


def test_following_starts_at_the_end_and_goes_on(registry: FakeRegistry, client: Client) -> None:
    registry.events = [event(1)]
    asked: list[str | None] = []

    def another_comes(request: httpx2.Request) -> None:
        asked.append(request.url.params.get("after"))
        if len(asked) == 2:
            registry.events.append(event(2))

    registry.intercept = another_comes
    assert [item.id for item in islice(client.events(), 1)] == ["e2"]
    assert asked == [None, "1"], "the place that the first, empty answer named is gone on from"


def test_filters_are_sent(registry: FakeRegistry, client: Client) -> None:
    seen: list[dict[str, str]] = []
    registry.intercept = lambda request: seen.append(dict(request.url.params))
    assert list(client.events(0, model="dig*", type="version-available", follow=False)) == []
    assert seen == [{"model": "dig*", "type": "version-available", "after": "0", "wait": "0"}]


def test_a_restart_of_the_server_is_ridden_out(registry: FakeRegistry, client: Client) -> None:
    registry.events = [event(1)]
    down = iter([True] * 20)

    def be_down(_: httpx2.Request) -> None:
        if next(down, False):
            raise Hangup

    registry.intercept = be_down
    client._sleep = lambda _seconds: None
    assert [item.id for item in islice(client.events(0), 1)] == ["e1"]


def test_patience_has_an_end(registry: FakeRegistry, client: Client) -> None:
    def be_down(_: httpx2.Request) -> None:
        raise Hangup

    registry.intercept = be_down
    client._sleep = lambda _seconds: None
    with pytest.raises(Transient):
        next(client.events(0, patience=-1.0))


async def test_events_from_asyncio(registry: FakeRegistry) -> None:
    registry.events = [event(1), event(2)]
    async with AsyncClient(registry.url, "t") as client:
        assert [item.id async for item in client.events(0, follow=False)] == ["e1", "e2"]
