"""The notifier's HTTP surface for tests."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from muniment.contracts.errors import Unauthenticated
from muniment.contracts.identity import Principal, Role
from muniment.notifier.channels.webhook import WebhookChannel
from muniment.notifier.http import router
from muniment.notifier.subscriptions import Subscriptions
from muniment.ports.clock import SystemClock
from muniment.runtime.http.app import build_app
from muniment.runtime.metrics import Metrics

from .conftest import PACE, Notifier, Running

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
