"""Comparisons from asyncio and blocking: one request, with every reference in it."""

from __future__ import annotations

import httpx2
import pytest

from muniment.contracts.errors import Rejected
from muniment.sdk import AsyncClient, Client
from muniment.testing.fake_registry import FakeRegistry


async def test_both_clients_ask_the_same(registry: FakeRegistry, client: Client) -> None:
    asked: list[str] = []

    def take(request: httpx2.Request) -> httpx2.Response:
        asked.append(f"{request.url.path}?{request.url.query.decode()}")
        return httpx2.Response(200, json={"versions": []})

    registry.intercept = take
    assert client.compare("digits/1", "digits@exp/a") == {"versions": []}
    client.diff("digits/1", "digits/2", only_changed=False)
    async with AsyncClient(registry.url, "secret-token") as other:
        await other.compare("digits/1", "digits@exp/a")
        await other.diff("digits/1", "digits/2", only_changed=False)
    assert asked[:2] == asked[2:]
    assert asked[:2] == [
        "/api/v1/compare?ref=digits%2F1&ref=digits%40exp%2Fa&only_changed=true",
        "/api/v1/diff?from=digits%2F1&to=digits%2F2&tensors=true&only_changed=false",
    ]


def test_a_reference_that_is_none_is_refused_before_anything_is_sent(client: Client) -> None:
    with pytest.raises(Rejected) as refused:
        client.diff("digits/1", "digits@")
    assert refused.value.code == "reference_invalid"
