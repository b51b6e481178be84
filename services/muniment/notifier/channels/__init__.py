"""What a way of notifying has to offer. Each channel is a class like it, in a module of its own.

What is made anew for every delivery is a named tuple, here and in the modules around: frozen data classes are made
field by field, which at thousands a second was a fifteenth of the processor's time.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from muniment.contracts.errors import Rejected
from muniment.notifier.posting import Answer

TEST_TYPE: Final = "muniment.subscription-test.v1"
"""The CloudEvents type of what the test button sends."""


class Message(NamedTuple):
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


class Request(NamedTuple):
    """What is sent."""

    url: str
    headers: Mapping[str, str]
    body: str
    method: str = "POST"
    """How it is sent; what is no HTTP has words of its own (`SMTP`, `PRODUCE`, `NOTIFY`)."""
    shown_url: str | None = None
    """What people may see instead of the URL, where the URL is itself a secret."""
    more: tuple[Request, ...] = ()
    """Sent after it, in order, as parts of the same delivery."""
    skipped: str | None = None
    """Why there is nothing to send: the delivery is done without it."""


class Channel(Protocol):
    """A way of notifying. Stateless: everything it needs comes with the message."""

    def checked(self, given: Mapping[str, Any], owner: UUID, stored: Mapping[str, Any]) -> dict[str, Any]:
        """The settings as they are to be stored: those given (None takes one away), else as they were stored.

        `owner` is the subscription's id. Raises `Rejected` where the channel could never use them.
        """
        ...

    def shown(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The settings as an audit entry or log may hold them: without anything that could be a secret."""
        ...

    def new_secret(self, config: Mapping[str, Any]) -> str | None:
        """A new signing secret; None where the channel signs nothing."""
        ...

    def request(self, message: Message, at: datetime) -> Request:
        """What would be sent at that moment. Raises `MunimentError`."""
        ...

    async def send(self, request: Request) -> Answer:
        """Send it. It is cancelled at the attempt's deadline, wherever it is.

        Raises `MunimentError` when there is no answer; the receiver may then have it or not.
        """
        ...


def merged(given: Mapping[str, Any], stored: Mapping[str, Any], known: Set[str]) -> dict[str, Any]:
    """The stored settings with those given anew, None taking one away. Raises `Rejected` (`setting_unknown`)."""
    if strange := set(given) - set(known):
        raise Rejected(
            "setting_unknown",
            "the channel has no such setting",
            expected=", ".join(sorted(known)),
            actual=", ".join(sorted(strange)),
        )
    return {name: value for name, value in {**stored, **given}.items() if value is not None}
