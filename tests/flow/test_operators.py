"""What operators and deployers do with a running registry: dead letters, webhooks, the feed, tokens."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from muniment.contracts import topics
from muniment.contracts.cloudevent import CloudEvent, encode
from muniment.contracts.errors import Conflict, Forbidden, Unauthenticated
from muniment.sdk import AsyncClient
from muniment.server.demo.witnesses import WebhookReceiver

from .conftest import SOURCE, Outside, model_folder


async def letters(registry: Outside, event_id: str) -> list[dict[str, Any]]:
    return [
        letter
        async for letter in registry.client.dead_letters("ingest")
        if any(value == event_id for name, value in (await shown(registry, letter["id"]))["headers"] if name == "ce_id")
    ]


async def shown(registry: Outside, letter_id: str) -> dict[str, Any]:
    return dict(await registry.client.dead_letter("ingest", letter_id))


async def test_a_dead_letter_is_listed_shown_and_retried_once(registry: Outside) -> None:
    data = json.dumps({"model": "dead", "files": [], "surprise": 1}).encode()
    await registry.send_raw(*encode(CloudEvent("dead-1", SOURCE, topics.TRAINING_COMPLETED.type, data)))
    await registry.until(lambda: registry.records(topics.AUDIT_LOG))
    async with asyncio.timeout(20):
        while not (found := await letters(registry, "dead-1")):
            await asyncio.sleep(0.05)
    letter = await shown(registry, found[0]["id"])
    assert letter["code"] == "schema_invalid"
    assert letter["text"] == data.decode()
    await registry.client.retry_dead_letter("ingest", letter["id"])
    await registry.until_audited(f"dead-letters/ingest/{letter['id']}", "dead-letter.retried")
    with pytest.raises(Conflict):
        await registry.client.retry_dead_letter("ingest", letter["id"])


async def test_a_webhook_hears_of_each_version_and_only_of_those_it_asked_for(
    registry: Outside, tmp_path: Path
) -> None:
    with WebhookReceiver() as receiver:
        subscription = await registry.client.create_subscription(
            {"name": "hook", "types": [topics.VERSION_AVAILABLE.type], "model": "hooked-*", "url": receiver.url}
        )
        await registry.client.publish(model_folder(tmp_path / "a", "not asked for"), model="unhooked")
        publication = await registry.client.publish(model_folder(tmp_path / "b", "asked for"), model="hooked-model")
        headers, body = await asyncio.to_thread(receiver.until, publication.id)
        Webhook(subscription["secret"]).verify(body, headers)
        event = json.loads(body)
        assert event["type"] == topics.VERSION_AVAILABLE.type
        assert event["data"]["id"] == publication.version.id if publication.version else False
        assert len(receiver.requests) == 1
        await registry.client.delete_subscription(subscription["id"])
    await registry.until_audited(f"subscriptions/{subscription['id']}", "subscription.deleted")


async def test_the_feed_continues_from_its_cursor(registry: Outside, tmp_path: Path) -> None:
    for number in range(3):
        await registry.client.publish(model_folder(tmp_path / str(number), f"fed {number}"), model="fed")
    kind = topics.VERSION_AVAILABLE.type

    async def numbers(after: int | str) -> list[tuple[str, int]]:
        feed = registry.client.events(after, model="fed", type=kind, follow=False)
        return [(event.cursor, event.raw["data"]["number"]) async for event in feed]

    async with asyncio.timeout(20):
        while len(everything := await numbers(0)) < 3:
            await asyncio.sleep(0.05)
    assert [number for _, number in everything] == [1, 2, 3]
    assert [number for _, number in await numbers(everything[0][0])] == [2, 3]


async def test_roles_decide_what_a_token_may_do(registry: Outside, tmp_path: Path) -> None:
    await registry.client.publish(model_folder(tmp_path / "seen"), model="seen-by-readers")
    made = await registry.client.create_token({"name": "only-reads", "roles": ["reader"], "days": 1})
    reader = AsyncClient(registry.url, made["token"])
    try:
        assert "seen-by-readers" in [model.name async for model in reader.models()]
        with pytest.raises(Forbidden) as caught:
            await reader.publish(model_folder(tmp_path / "run"), model="forbidden")
        assert caught.value.code == "role_missing"
        with pytest.raises(Forbidden):
            [token async for token in reader.tokens()]
    finally:
        await reader.aclose()
    stranger = AsyncClient(registry.url, "mnt_" + "0" * 42)
    with pytest.raises(Unauthenticated):
        [model async for model in stranger.models()]
    await stranger.aclose()
    await registry.client.revoke_token("only-reads")
    await registry.until_audited("tokens/only-reads", "token.revoked")
    assert made["token"] not in json.dumps([record.value.decode() for record in registry.records(topics.AUDIT_LOG)])
