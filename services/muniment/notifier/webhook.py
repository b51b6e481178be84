"""The webhook channel: Standard Webhooks 1.0 around a CloudEvent.

The body is the event in CloudEvents' JSON format. `webhook-id` is the delivery's id, the same over all attempts;
`webhook-timestamp` is the attempt's; `webhook-signature` covers both and the body's bytes, once for each live secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from standardwebhooks import Webhook

from muniment.contracts.errors import Rejected
from muniment.notifier.channels import Message, Request
from muniment.notifier.outbound import Answer, Outbound, target_of
from muniment.notifier.sealing import Sealer


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """POSTs signed events to a URL."""

    outbound: Outbound
    sealer: Sealer
    timeout_s: float
    """The total deadline of one attempt."""

    def checked(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """`{"url": ...}` with the URL in its normal spelling. Raises `Rejected` (`url_invalid`, `address_refused`)."""
        url = config.get("url")
        if not isinstance(url, str):
            raise Rejected("url_invalid", "a webhook needs a URL", expected="https://HOST/PATH", actual=repr(url)[:100])
        return {"url": target_of(url, self.outbound.policy).url}

    def shown(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Where it goes, and the digest of the whole URL: paths and queries often hold tokens."""
        url = str(config.get("url"))
        try:
            origin = target_of(url, self.outbound.policy).origin
        except Rejected:
            origin = "an address that is not allowed"
        return {"url": f"{origin}/… (sha256 {sha256(url.encode()).hexdigest()[:16]})"}

    def request(self, message: Message, at: datetime) -> Request:
        """The signed request. Raises `Misconfigured` when no secret opens."""
        secrets = [self.sealer.open(sealed, message.subscription_id) for sealed in message.secrets]
        return Request(
            url=str(message.config["url"]),
            headers={
                "content-type": "application/cloudevents+json",
                **signed_headers(message.delivery_id, at, message.body, secrets),
            },
            body=message.body,
        )

    async def send(self, request: Request) -> Answer:
        """POST it. The URL is checked again: settings may have become stricter since it was stored."""
        target = target_of(request.url, self.outbound.policy)
        return await self.outbound.post(
            target, headers=request.headers, body=request.body.encode(), deadline_s=self.timeout_s
        )


def signed_headers(delivery: UUID | str, at: datetime, body: str, secrets: Sequence[str]) -> dict[str, str]:
    """The three headers of Standard Webhooks. The id must hold no dot, since dots part what is signed."""
    moment = at.astimezone(UTC)  # the library takes whatever it gets for UTC
    return {
        "webhook-id": str(delivery),
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(str(delivery), moment, body) for secret in secrets),
    }
