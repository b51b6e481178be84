"""What a way of notifying has to offer. Webhook is the first; each further one is a class like it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from muniment.notifier.outbound import Answer


@dataclass(frozen=True, slots=True)
class Message:
    """One attempt's content: what is to be told, and to whom."""

    delivery_id: UUID
    """Stable over all attempts of the delivery."""
    subscription_id: UUID
    config: Mapping[str, Any]
    """The subscription's own settings of the channel, as `Channel.checked` returned them."""
    body: str
    """The CloudEvent in structured JSON."""
    secrets: tuple[bytes, ...]
    """The live signing secrets, sealed, newest first: two while one replaces the other."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent."""

    url: str
    headers: Mapping[str, str]
    body: str


class Channel(Protocol):
    """A way of notifying. Stateless: everything it needs comes with the message."""

    def checked(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The settings as they are to be stored. Raises `Rejected` where the channel could never use them."""
        ...

    def shown(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The settings as an audit entry or log may hold them: without anything that could be a secret."""
        ...

    def request(self, message: Message, at: datetime) -> Request:
        """What would be sent at that moment. Raises `MunimentError`."""
        ...

    async def send(self, request: Request) -> Answer:
        """Send it, within the channel's deadline.

        Raises `MunimentError` when there is no answer; the receiver may then have it or not.
        """
        ...
