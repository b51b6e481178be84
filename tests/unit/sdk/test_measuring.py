"""Measurements on their way: in batches that can be repeated."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from muniment.contracts.errors import Rejected
from muniment.sdk import AsyncClient, Client, measuring
from muniment.testing.fake_registry import FakeRegistry, Hangup


@pytest.fixture
def sent(registry: FakeRegistry) -> list[tuple[httpx2.Request, list[Any]]]:
    """The batches that arrive; the second request's connection breaks before it is answered."""
    seen: list[tuple[httpx2.Request, list[Any]]] = []

    def take(request: httpx2.Request) -> httpx2.Response:
        rows = [json.loads(line) for line in request.read().splitlines()]
        seen.append((request, rows))
        if len(seen) == 2:
            raise Hangup
        answer = {
            "batch": f"b{len(seen)}",
            "model": "digits",
            "number": 3,
            "id": "sha256:ab",
            "kind": "evaluation",
            "count": len(rows),
            "repeated": False,
            "divergences": [{"metric": "accuracy"}],
        }
        return httpx2.Response(201, json=answer)

    registry.intercept = take
    return seen


def test_many_values_go_in_batches_to_one_version_and_a_lost_answer_is_asked_for_again(
    client: Client, sent: list[tuple[httpx2.Request, list[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MAX_POINTS", 2)
    told: list[int] = []
    points = [{"metric": "accuracy", "value": n, "slice": None if n else "ones"} for n in range(3)]
    answer = client.evaluate("digits@main", points, dataset="test", on_progress=told.append)
    assert (answer["count"], answer["number"], len(answer["divergences"]), told) == (3, 3, 2, [2, 3])
    refs = [request.url.params["ref"] for request, _ in sent]
    assert refs == ["digits@main", "digits/3", "digits/3"]
    keys = [request.headers["idempotency-key"] for request, _ in sent]
    assert keys[0] != keys[1] == keys[2], "a batch that may have arrived is sent under its own key again"
    assert sent[0][1] == [
        {"dataset": "test", "metric": "accuracy", "value": 0, "slice": "ones"},
        {"dataset": "test", "metric": "accuracy", "value": 1},
    ]


async def test_values_by_metric_from_asyncio(
    registry: FakeRegistry, sent: list[tuple[httpx2.Request, list[Any]]]
) -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    async with AsyncClient(registry.url, "secret-token") as client:
        await client.observe("digits", {"latency": 3}, unit="ms", at=moment, idempotency_key="k")
    ((request, rows),) = sent
    assert request.url.path == "/api/v1/models/digits/observations"
    assert request.headers["idempotency-key"] == "k-0"
    assert rows == [{"metric": "latency", "value": 3, "unit": "ms", "at": "2026-01-02T00:00:00+00:00"}]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_is_no_number_is_refused_before_anything_is_sent(
    client: Client, value: Any, registry: FakeRegistry
) -> None:
    with pytest.raises(Rejected) as caught:
        client.evaluate("digits", {"accuracy": value})
    assert (caught.value.code, registry.requests) == ("metric_value_invalid", [])
