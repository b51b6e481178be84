"""Who produced an event of an intake topic. Kafka does not tell, and a payload can claim anything."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from muniment.contracts import signature
from muniment.contracts.errors import Misconfigured, Unauthenticated
from muniment.contracts.identity import UNSIGNED, Author, operator_of
from muniment.contracts.model import Payload
from muniment.runtime.delivery.incoming import Incoming
from muniment.runtime.settings import Settings

_LOOPBACK_NAMES: Final = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


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

    async def author_of(self, item: Incoming[Payload]) -> Author:
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

    async def _signer(self, item: Incoming[Payload], given: list[bytes | None]) -> str:
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


def producers_of(settings: Settings, keys: PublisherKeys) -> Producers:
    """The producers that the settings believe; one answer for every intake topic, whichever service reads it.

    Raises `Misconfigured` (`unsigned_off_loopback`) where unsigned events would be taken from afar.
    """
    kafka = settings.kafka
    embedded = kafka.mode == "embedded"
    unsigned = takes_unsigned(settings.ingest.allow_unsigned, embedded=embedded, bootstrap=kafka.bootstrap)
    return Producers(keys, settings.ingest.topic_accounts, unsigned)


def takes_unsigned(allow: bool | None, *, embedded: bool, bootstrap: str | None) -> bool:
    """Whether unsigned events are taken. Raises `Misconfigured` (`unsigned_off_loopback`) where that is not safe.

    Anybody who reaches the broker may write an unsigned event, so it is on by default with the embedded broker only.
    """
    if allow is None:
        return embedded
    if allow and bootstrap is not None and not _only_loopback(bootstrap):
        raise Misconfigured(
            "unsigned_off_loopback",
            "unsigned events may only be taken from a broker on loopback",
            expected="signed events, or a broker on 127.0.0.1",
            actual=bootstrap,
            hint="unset MUNIMENT_INGEST__ALLOW_UNSIGNED and give publishers keys, "
            "or name a topic with one writer in MUNIMENT_INGEST__TOPIC_ACCOUNTS",
        )
    return allow


def _only_loopback(bootstrap: str) -> bool:
    return all(_is_loopback(server.strip()) for server in bootstrap.split(","))


def _is_loopback(server: str) -> bool:
    host = server.rpartition(":")[0].strip("[]") or server
    if host.lower() in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
