"""Who produced a training-completed event. Kafka does not tell, and a payload can claim anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from muniment.contracts import signature
from muniment.contracts.errors import Unauthenticated
from muniment.contracts.events import TrainingCompleted
from muniment.contracts.identity import UNSIGNED, operator_of
from muniment.ingest.domain import Author
from muniment.runtime.delivery.incoming import Incoming


class PublisherKey(Protocol):
    """A registered key: the account it belongs to, and its raw public half."""

    @property
    def account(self) -> str:
        """The service account."""
        ...

    @property
    def public_key(self) -> bytes:
        """Ed25519, 32 bytes."""
        ...


class PublisherKeys(Protocol):
    """The registered keys (`muniment.runtime.identity`)."""

    async def publisher_key(self, kid: str) -> PublisherKey:
        """The key of an id. Raises `Unauthenticated` where it is unknown, revoked or expired."""
        ...


@dataclass(frozen=True, slots=True)
class Producers:
    """Tells the author of an event. `topic_accounts` names the one account that may write to a topic."""

    keys: PublisherKeys
    topic_accounts: Mapping[str, str]
    allow_unsigned: bool

    async def author_of(self, item: Incoming[TrainingCompleted]) -> Author:
        """The author: by signature; else by the topic's one writer; else, where that is allowed, nobody in particular.

        A signature that is there must be right, whatever the topic. Raises `Unauthenticated`: `signature_missing`, and
        what `signature.parse`, `signature.verify` and `PublisherKeys.publisher_key` raise.
        """
        given = [value for name, value in item.headers if name.lower() == signature.HEADER]
        if given:
            return Author(operator_of(await self._signer(item, given)), "signature")
        if (account := self.topic_accounts.get(item.place.topic)) is not None:
            return Author(operator_of(account), "topic")
        if self.allow_unsigned:
            return Author(UNSIGNED, "unsigned")
        raise Unauthenticated(
            "signature_missing",
            "the event is not signed",
            expected=f"a {signature.HEADER} header",
            actual="none",
            hint="sign it with a publisher key: muniment token key create",
        )

    async def _signer(self, item: Incoming[TrainingCompleted], given: list[bytes | None]) -> str:
        if len(given) != 1 or given[0] is None:
            raise Unauthenticated(
                "signature_malformed",
                "the event needs one signature",
                expected=f"one {signature.HEADER} header with a value",
                actual=f"{len(given)} headers",
            )
        parsed = signature.parse(given[0])
        key = await self.keys.publisher_key(parsed.kid)
        signature.verify(item.event, parsed, key.public_key)
        return key.account
