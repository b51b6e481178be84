"""The webhook channel: Standard Webhooks 1.0 around a CloudEvent, or around MLflow's body with MLflow's headers.

`webhook-id` is the delivery's id, the same over all attempts; `webhook-timestamp` is the attempt's;
`webhook-signature` covers both and the body's bytes, once for each live secret.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from muniment.contracts.errors import Conflict, Rejected
from muniment.notifier.channels import Message, Request, merged
from muniment.notifier.channels.mlflow import mlflow_bodies, mlflow_headers
from muniment.notifier.channels.secret_url import masked
from muniment.notifier.channels.signing import new_private_key, signed_headers
from muniment.notifier.outbound import Outbound
from muniment.notifier.posting import Answer
from muniment.notifier.sealing import Sealer, new_secret

_KNOWN: Final = frozenset({"url", "format", "signing"})


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """POSTs signed events to a URL."""

    outbound: Outbound
    sealer: Sealer

    def checked(self, given: Mapping[str, Any], owner: UUID, stored: Mapping[str, Any]) -> dict[str, Any]:
        """`{"url", "format", "signing"}`, the last two where they are not `cloudevents` and `hmac`.

        Raises `Rejected` (`url_invalid`, `address_refused`, `setting_conflict`) and `Conflict` (`signing_fixed`).
        """
        config = merged(given, stored, _KNOWN)
        url = config.get("url")
        if not isinstance(url, str):
            raise Rejected("url_invalid", "a webhook needs a URL", expected="https://HOST/PATH", actual=repr(url)[:100])
        if config.get("format") == "mlflow" and config.get("signing") == "ed25519":
            raise Rejected(
                "setting_conflict",
                "MLflow's format has no Ed25519 signatures",
                expected="signing=hmac, or format=cloudevents",
                actual="format=mlflow, signing=ed25519",
            )
        if stored and config.get("signing", "hmac") != stored.get("signing", "hmac"):
            raise Conflict(
                "signing_fixed",
                "a subscription's kind of signature stays",
                expected=stored.get("signing", "hmac"),
                actual=config.get("signing", "hmac"),
                hint="make a second subscription, and delete this one when the receiver verifies the new signatures",
            )
        usual = {"format": "cloudevents", "signing": "hmac"}
        kept = {name: value for name, value in config.items() if value != usual.get(name)}
        return {**kept, "url": self.outbound.target_of(url).url}

    def shown(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Where it goes, and the digest of the whole URL: paths and queries often hold tokens."""
        url = str(config.get("url"))
        try:
            origin = self.outbound.target_of(url).origin
        except Rejected:
            origin = "an address that is not allowed"
        return {**config, "url": masked(url, origin)}

    def new_secret(self, config: Mapping[str, Any]) -> str | None:
        """A shared secret, or a private key where signatures are Ed25519."""
        return new_private_key() if config.get("signing") == "ed25519" else new_secret()

    def request(self, message: Message, at: datetime) -> Request:
        """The signed request. Raises `Misconfigured` when no secret opens."""
        secrets = [self.sealer.open(sealed, message.subscription_id) for sealed in message.secrets]
        url = str(message.config["url"])
        if message.config.get("format") == "mlflow":
            return _mlflow_request(message, url, at, secrets)
        return Request(
            url=url,
            headers={
                "content-type": "application/cloudevents+json",
                **signed_headers(message.delivery_id, at, message.body, secrets),
            },
            body=message.body,
        )

    async def send(self, request: Request) -> Answer:
        """POST it, and what belongs to it; the first refusal is the answer.

        The URL is checked again: settings may have become stricter since it was stored.
        """
        target = self.outbound.target_of(request.url)
        for one in (request, *request.more):
            answer = await self.outbound.post(target, headers=one.headers, body=one.body.encode())
            if not 200 <= answer.status < 300:
                break
        return answer


def _mlflow_request(message: Message, url: str, at: datetime, secrets: list[str]) -> Request:
    """MLflow's signature header holds one signature, so it is the newest secret's; ours beside it has both."""
    event = json.loads(message.body)
    requests = []
    for position, body in enumerate(mlflow_bodies(event)):
        delivery = str(message.delivery_id) if position == 0 else f"{message.delivery_id}-{position}"
        headers = {
            "content-type": "application/json",
            **(mlflow_headers(delivery, at, body, secrets[0]) if secrets else {}),
            **signed_headers(delivery, at, body, secrets),
        }
        requests.append(Request(url, headers, body))
    if not requests:
        return Request(url, {}, "", skipped=f"MLflow's format has nothing for a {event.get('type')}: nothing was sent")
    first, *more = requests
    return Request(url, first.headers, first.body, more=tuple(more))
