"""The notifier with all its channels behind its routes, and what tests of them share."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
from prometheus_client import CollectorRegistry

from muniment.adapters.kafka_guest import GuestPublisher
from muniment.contracts.cloudevent import CloudEvent
from muniment.notifier.addresses import AddressPolicy
from muniment.notifier.channels import Channel
from muniment.notifier.channels.all import channels_of
from muniment.notifier.channels.webhook import WebhookChannel
from muniment.notifier.http import router
from muniment.notifier.subscriptions import Subscriptions
from muniment.ports.clock import SystemClock
from muniment.runtime.http.app import build_app
from muniment.runtime.metrics import Metrics
from muniment.runtime.settings import NotifierSettings, Settings, SmtpSettings
from muniment.testing.smtp_sink import SmtpSink

from .conftest import DEVELOPMENT, PACE, Notifier, available
from .http_bench import Api, Tokens

TOKEN = "token-in-path"
HOSTILE = "<!channel> <b>x</b>\r\nBcc: eve@evil.example \u202e[a](https://evil.example) " + "A" * 5000


@asynccontextmanager
async def serving(
    notifier: Notifier,
    *,
    guest: GuestPublisher | None = None,
    policy: AddressPolicy = DEVELOPMENT,
    resolve: Any = None,
    **settings: Any,
) -> AsyncIterator[Api]:
    """The service with all its channels behind its routes."""
    made: dict[str, Channel] = {}
    own = Settings(notifier=NotifierSettings(timeout_s=PACE.timeout_s, **settings))

    def everything(webhook: WebhookChannel) -> Mapping[str, Channel]:
        made.update(channels_of(own, webhook.outbound, webhook.sealer, guest))
        return made

    options = {} if resolve is None else {"resolve": resolve}
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(notifier.running(channels=everything, policy=policy, **options))

        def wake(subscriptions: Any) -> None:
            running.deliverer.wake(subscriptions)

        subscriptions = Subscriptions(running.transactions, made, notifier.sealer, SystemClock(), wake, PACE.timeout_s)
        app = build_app(
            version="0",
            routers=[router(subscriptions, running.feed)],
            identity=Tokens(),
            ready={},
            metrics=Metrics(CollectorRegistry()),
        )
        transport = httpx2.ASGITransport(app)
        client = await stack.enter_async_context(httpx2.AsyncClient(transport=transport, base_url="http://m.test"))
        yield Api(client, running, notifier)


def mail_settings(sink: SmtpSink, **fields: Any) -> SmtpSettings:
    return SmtpSettings(**{"host": "localhost", "port": sink.port, "sender": "muniment@example.org", **fields})


async def subscribe(api: Api, channel: str, **fields: Any) -> dict[str, Any]:
    made = await api.call("POST", "/subscriptions", {"name": f"n{uuid.uuid4()}", "channel": channel, **fields})
    assert made.status_code == 201, made.text
    return dict(made.json())


async def told(api: Api, made: Mapping[str, Any]) -> str:
    """Everything that is stored of a subscription or told of it again."""
    path = f"/subscriptions/{made['id']}"
    pages = [(await api.call("GET", at)).text for at in (path, "/subscriptions", f"{path}/deliveries")]
    rows = await api.notifier.pool.fetch("SELECT * FROM subscription")
    return json.dumps([*pages, await api.audit()]) + repr([dict(row) for row in rows])


def hostile_event(number: int = 1) -> CloudEvent:
    """A version whose texts the schema would have refused."""
    event = available(number)
    data = {**json.loads(event.data), "description": HOSTILE, "operator": HOSTILE, "tags": {HOSTILE: HOSTILE}}
    return dataclasses.replace(event, data=json.dumps(data).encode())


async def tell_as_it_is(api: Api, subscription: str, event: CloudEvent) -> None:
    """Queue an event past the schema, as an older or broken writer could have stored it."""
    pool, body = (
        api.notifier.pool,
        json.dumps(
            {
                "specversion": "1.0",
                "id": event.id,
                "type": event.type,
                "time": event.time,
                "source": event.source,
                "data": json.loads(event.data),
            }
        ),
    )
    seq = await pool.fetchval(
        "INSERT INTO event_feed (key, type, model, recorded_at, body) VALUES ($1, 'version-available', 'digits', now(), $2) RETURNING seq",
        uuid.uuid4(),
        body,
    )
    owner = uuid.UUID(subscription)
    await pool.execute(
        "INSERT INTO delivery (id, subscription_id, event_seq) VALUES ($1, $2, $3)", uuid.uuid4(), owner, seq
    )
    api.running.deliverer.wake([owner])
