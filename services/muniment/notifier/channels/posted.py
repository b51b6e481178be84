"""Channels that post a message for people to a URL that is itself the secret: Slack and Teams.

The URL is sealed at rest like a signing secret; people see its origin and the digest of the whole.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from muniment.contracts.errors import Rejected
from muniment.notifier.channels import Message, Request, merged
from muniment.notifier.channels.notice import Notice, check_title, notice_of
from muniment.notifier.outbound import Answer, Outbound, target_of
from muniment.notifier.sealing import Sealer

_STORED: Final = frozenset({"sealed_url", "shown_url", "title"})


@dataclass(frozen=True, slots=True)
class PostedChannel:
    """POSTs a rendered notice as JSON."""

    outbound: Outbound
    sealer: Sealer
    timeout_s: float
    render: Callable[[Notice], str]
    links_to: str | None = None

    def checked(self, given: Mapping[str, Any], owner: UUID, stored: Mapping[str, Any]) -> dict[str, Any]:
        """`{"sealed_url", "shown_url", "title"}`. Raises `Rejected` (`url_invalid`, `address_refused`, ...)."""
        settings = sealed_url(given, owner, self.sealer, lambda url: target_of(url, self.outbound.policy).origin)
        config = merged(settings, stored, _STORED)
        if "title" in config:
            check_title(config["title"])
        return require_url(config)

    def shown(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Where it goes, without the URL's secret part."""
        return {name: config[name] for name in ("shown_url", "title") if name in config}

    def new_secret(self, config: Mapping[str, Any]) -> str | None:
        """None: whoever knows the URL may post, and nothing is signed."""
        return None

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
        target = target_of(request.url, self.outbound.policy)
        body = request.body.encode()
        return await self.outbound.post(target, headers=request.headers, body=body, deadline_s=self.timeout_s)


def sealed_url(given: Mapping[str, Any], owner: UUID, sealer: Sealer, origin: Callable[[str], str]) -> dict[str, Any]:
    """The given settings with `url` replaced by `sealed_url` and `shown_url`. Raises what `origin` raises."""
    settings = dict(given)
    url = settings.pop("url", None)
    if url is not None:
        settings["shown_url"] = masked(url, origin(url))
        settings["sealed_url"] = base64.b64encode(sealer.seal(url, owner)).decode()
    return settings


def opened_url(config: Mapping[str, Any], owner: UUID, sealer: Sealer) -> str:
    """The URL as it was given. Raises `Misconfigured` (`secret_unreadable`)."""
    return sealer.open(base64.b64decode(str(config.get("sealed_url"))), owner)


def masked(url: str, origin: str) -> str:
    """Where a URL leads, and the digest of the whole: what may be shown of one whose path is a secret."""
    return f"{origin}/… (sha256 {sha256(url.encode()).hexdigest()[:16]})"


def require_url(config: dict[str, Any]) -> dict[str, Any]:
    """The settings, which hold a URL. Raises `Rejected` (`url_invalid`)."""
    if "sealed_url" not in config:
        raise Rejected("url_invalid", "the channel needs a URL", expected="url", actual="none")
    return config
