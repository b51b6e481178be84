"""Channels that post a message for people to a URL that is itself the secret: Slack and Teams.

The URL is sealed at rest like a signing secret; people see its origin and the digest of the whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from muniment.notifier.channels import Message, Request
from muniment.notifier.channels.notice import Notice, notice_of
from muniment.notifier.channels.secret_url import SecretUrl, checked_url, opened_url
from muniment.notifier.outbound import Outbound
from muniment.notifier.posting import Answer
from muniment.notifier.sealing import Sealer


@dataclass(frozen=True, slots=True)
class PostedChannel(SecretUrl):
    """POSTs a rendered notice as JSON."""

    outbound: Outbound
    sealer: Sealer
    render: Callable[[Notice], str]
    links_to: str | None = None

    def checked(self, given: Mapping[str, Any], owner: UUID, stored: Mapping[str, Any]) -> dict[str, Any]:
        """`{"sealed_url", "shown_url", "title"}`. Raises `Rejected` (`url_invalid`, `address_refused`, ...)."""
        return checked_url(given, owner, stored, self.sealer, lambda url: self.outbound.target_of(url).origin)

    def request(self, message: Message, at: datetime) -> Request:
        """The rendered message. Raises `Misconfigured` when the URL does not open."""
        notice = notice_of(json.loads(message.body), links_to=self.links_to, title=message.config.get("title"))
        return Request(
            url=opened_url(message.config, message.subscription_id, self.sealer),
            headers={"content-type": "application/json"},
            body=self.render(notice),
            shown_url=str(message.config.get("shown_url")),
        )

    async def send(self, request: Request) -> Answer:
        """POST it. The URL is checked again: settings may have become stricter since it was stored."""
        target = self.outbound.target_of(request.url)
        return await self.outbound.post(target, headers=request.headers, body=request.body.encode())
