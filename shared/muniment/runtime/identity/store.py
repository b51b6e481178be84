"""Who is calling, and whose key signed: questions to the schema `identity`, answered from a short memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast

import asyncpg
import structlog

from muniment.contracts.errors import Unauthenticated
from muniment.contracts.identity import Principal, Role, operator_of
from muniment.contracts.model import rfc3339
from muniment.ports.clock import Clock
from muniment.runtime.identity.lookups import Lookups
from muniment.runtime.identity.tokens import looks_like_token, token_hash
from muniment.runtime.sql import load_queries

SQL = load_queries("muniment.runtime.identity")
log = structlog.get_logger(__name__)

LOOKUP_TIMEOUT_S: Final = 5.0
TOUCH_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class PublisherKey:
    """A key whose signatures are believed: `account` is the operator's subject."""

    kid: str
    account: str
    public_key: bytes
    """Raw Ed25519, 32 bytes."""
    expires_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Token:
    principal: Principal
    expires_at: datetime
    revoked_at: datetime | None


class Identity:
    """Answers for tokens and publisher keys. Any service's pool will do: it may ask, and see no table.

    An answer is remembered for 5 s, "there is no such token" for 1 s; so a revocation holds everywhere within 5 s, and
    at once in the process that did it. Expiry is checked on every call, against the clock.
    """

    def __init__(
        self, pool: asyncpg.Pool[Any], clock: Clock, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._tokens: Lookups[bytes, _Token] = Lookups(self._find_token, monotonic)
        self._keys: Lookups[str, PublisherKey] = Lookups(self._find_publisher_key, monotonic)
        self._background: set[asyncio.Task[None]] = set()

    async def authenticate(self, token: str) -> Principal:
        """The principal of an API token.

        Raises `Unauthenticated`: `token_invalid` (not one of ours, or mistyped: the database is not asked for a wrong
        checksum), `token_revoked`, `token_expired`. Raises `TimeoutError` or the driver's errors when the
        database does not answer: nobody is let in on a guess.
        """
        if not looks_like_token(token):
            raise _invalid_token()
        key = token_hash(token)
        found = self._tokens.kept(key) or await self._tokens.get(key)
        if found is None:
            raise _invalid_token()
        if found.revoked_at is not None:
            raise Unauthenticated(
                "token_revoked",
                "the token was revoked",
                actual=f"revoked at {rfc3339(found.revoked_at)}",
                hint="ask an admin for a new one: muniment token create",
            )
        if found.expires_at <= (now := self._clock.now()):
            raise Unauthenticated(
                "token_expired",
                "the token has expired",
                expected=f"use before {rfc3339(found.expires_at)}",
                actual=rfc3339(now),
                hint="ask an admin for a new one: muniment token create",
            )
        return found.principal

    async def publisher_key(self, kid: str) -> PublisherKey:
        """The live publisher key with this id.

        Raises `Unauthenticated`: `signature_unknown_key`, `signature_key_revoked`, `signature_key_expired`. What counts
        is the moment of asking: no time that an event claims can bring a key back, so leave an overlap when rotating.
        """
        key = await self._keys.get(kid)
        if key is None:
            raise Unauthenticated(
                "signature_unknown_key",
                "the event is signed with a key nobody has registered",
                expected="a registered publisher key",
                actual=kid[:64],
                hint="an admin registers its public half: muniment token key create",
            )
        if key.revoked_at is not None:
            raise Unauthenticated(
                "signature_key_revoked",
                f"the publisher key of {key.account} was revoked",
                actual=f"key {kid}, revoked at {rfc3339(key.revoked_at)}",
                hint="sign with another key of the account",
            )
        if key.expires_at <= (now := self._clock.now()):
            raise Unauthenticated(
                "signature_key_expired",
                f"the publisher key of {key.account} has expired",
                expected=f"use of key {kid} before {rfc3339(key.expires_at)}",
                actual=rfc3339(now),
                hint="register a new key before the old one expires, and sign with it",
            )
        return key

    def forget_token(self, key: bytes) -> None:
        """Ask anew for the token with this hash (it has just been revoked)."""
        self._tokens.forget(key)

    def forget_publisher_key(self, kid: str) -> None:
        """Ask anew for this key (it has just been registered or revoked)."""
        self._keys.forget(kid)

    async def settle(self) -> None:
        """Wait for the notes of use still being written. Call it before the pool closes."""
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _find_token(self, key: bytes) -> _Token | None:
        async with asyncio.timeout(LOOKUP_TIMEOUT_S):
            row = await self._pool.fetchrow(SQL["find_token"], key)
        if row is None:
            return None
        now = self._clock.now()
        live = row["revoked_at"] is None and now < row["expires_at"]
        if live and (row["last_used_at"] is None or row["last_used_at"] <= now - TOUCH_EVERY):
            self._touch(key, now)
        roles = cast("list[Role]", row["roles"])  # the table's CHECK allows no other
        principal = Principal(operator_of(row["subject"]), frozenset(roles), "token")
        return _Token(principal, row["expires_at"], row["revoked_at"])

    async def _find_publisher_key(self, kid: str) -> PublisherKey | None:
        async with asyncio.timeout(LOOKUP_TIMEOUT_S):
            row = await self._pool.fetchrow(SQL["find_publisher_key"], kid)
        return None if row is None else PublisherKey(kid, **dict(row))

    def _touch(self, key: bytes, now: datetime) -> None:
        """Note the use beside the request: at most once a minute for one token, and never in its way."""

        async def note() -> None:
            try:
                async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                    await self._pool.execute(SQL["touch_token"], key, now)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("token_use_not_noted", error=repr(error))

        task = asyncio.create_task(note())
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _invalid_token() -> Unauthenticated:
    return Unauthenticated(
        "token_invalid",
        "the token is not valid",
        expected="a live token (mnt_...)",
        actual="none that is known here",
        hint="check that it was copied whole, and that this is the server that issued it",
    )
