"""Tokens and publisher keys made and revoked: state and audit entry in one transaction of the hosting service."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, StrictInt, StrictStr, model_validator

from muniment.contracts import signature
from muniment.contracts.errors import Conflict, NotFound
from muniment.contracts.events import Authentication, Cause, Change
from muniment.contracts.identity import UNSIGNED, Principal, Role, operator_of
from muniment.contracts.model import Payload, rfc3339
from muniment.contracts.topics import SERVICES
from muniment.runtime.delivery.transaction import Tx
from muniment.runtime.identity.store import SQL, Identity
from muniment.runtime.identity.tokens import new_token

MAX_DAYS: Final = 366
SYSTEM: Final = "system"
# Words that stand for something else in the audit log; nobody may be given them.
_RESERVED: Final = frozenset({SYSTEM, UNSIGNED.partition("|")[2], *SERVICES})
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_KID: Final = re.compile(r"[0-9a-f]{16}")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"name_invalid: [A-Za-z0-9][A-Za-z0-9._@+-]{{0,127}} is allowed, not {text[:140]!r}")
    return text


def _subject(text: str) -> str:
    if _name(text).lower() in _RESERVED:
        raise ValueError(f"subject_reserved: {text!r} stands for something else in the audit log")
    return text


Name = Annotated[StrictStr, AfterValidator(_name)]
Subject = Annotated[StrictStr, AfterValidator(_subject)]
Days = Annotated[StrictInt, Field(ge=1, le=MAX_DAYS)]


class TokenWanted(Payload):
    """A token to be made. `subject` is who it speaks for (the name unless given); every token expires."""

    name: Name
    subject: Name | None = None
    roles: Annotated[tuple[Role, ...], Field(min_length=1, max_length=5)]
    days: Days = 90

    @model_validator(mode="after")
    def _subject_is_free(self) -> TokenWanted:
        _subject(self.speaks_for)
        return self

    @property
    def speaks_for(self) -> str:
        """The operator's subject."""
        return self.subject or self.name


class PublisherKeyWanted(Payload):
    """A publisher key to be believed: events signed with it were sent by `account`."""

    account: Subject
    public_key: Annotated[StrictStr, Field(max_length=4096)]
    """Ed25519, PEM (SubjectPublicKeyInfo)."""
    days: Days = 365


@dataclass(frozen=True, slots=True)
class By:
    """Who asks for a change, and why it came about: what its audit entry says."""

    operator: str
    authenticated_by: Authentication
    cause: Cause

    @classmethod
    def principal(cls, principal: Principal, cause: Cause) -> By:
        """An authenticated party in a request."""
        return cls(principal.operator, principal.authenticated_by, cause)


@dataclass(frozen=True, slots=True)
class Created:
    """A token just made; `token` is shown here and never again."""

    name: str
    subject: str
    roles: tuple[Role, ...]
    token: str
    expires_at: datetime


async def create_token(tx: Tx, wanted: TokenWanted, by: By) -> Created:
    """Make a token. Raises `Conflict` (`token_exists`) while a token of that name lives."""
    subject = wanted.speaks_for
    roles: tuple[Role, ...] = tuple(sorted(set(wanted.roles)))
    text, hashed = new_token()
    expires_at = tx.now + timedelta(days=wanted.days)
    made = await tx.connection.fetchval(
        SQL["insert_token"], wanted.name, subject, list(roles), hashed, tx.now, by.operator, expires_at
    )
    if made is None:
        raise Conflict(
            "token_exists",
            f"a token named {wanted.name!r} lives already",
            expected="another name",
            actual=wanted.name,
            hint=f"revoke it first (muniment token revoke {wanted.name}), or choose another name",
        )
    after = {"subject": subject, "roles": list(roles), "expires_at": rfc3339(expires_at)}
    _audit(tx, by, "token.created", f"tokens/{wanted.name}", before=None, after=after)
    return Created(wanted.name, subject, roles, text, expires_at)


async def revoke_token(tx: Tx, identity: Identity, name: str, by: By) -> None:
    """Revoke the live token of this name.

    Raises `NotFound` (`token_unknown`), and `Conflict` (`last_admin`) for the last live token with the admin role:
    without one, nobody could make another.
    """
    row = None
    if _NAME.fullmatch(name):  # anything else names no token, and some of it no database can hold
        await tx.connection.execute(SQL["lock_tokens"])
        row = await tx.connection.fetchrow(SQL["revoke_token"], name, tx.now)
    if row is None:
        raise NotFound(
            "token_unknown",
            "no live token has this name",
            expected="the name of a token that is not revoked",
            actual=repr(name[:140]),
            hint="muniment token ls shows them",
        )
    if "admin" in row["roles"]:
        until = await tx.connection.fetchval(SQL["other_admin_until"], name)
        if until is None or until <= tx.now:
            raise Conflict(
                "last_admin",
                f"{name!r} is the last live admin token",
                expected="another live token with the role admin",
                actual="none",
                hint="make another first: muniment token create NAME --role admin",
            )
    before = {"subject": row["subject"], "roles": row["roles"], "expires_at": rfc3339(row["expires_at"])}
    _audit(tx, by, "token.revoked", f"tokens/{name}", before=before, after=None)
    tx.after_commit(lambda: identity.forget_token(row["token_hash"]))


async def create_publisher_key(tx: Tx, identity: Identity, wanted: PublisherKeyWanted, by: By) -> dict[str, Any]:
    """Register a public key. A key serves once: neither a live nor a revoked one can be registered again.

    Raises `Conflict` (`publisher_key_exists`) and `Rejected` (`public_key_invalid`).
    """
    raw = signature.public_key_of_pem(wanted.public_key.encode())
    kid = signature.key_id(raw)
    expires_at = tx.now + timedelta(days=wanted.days)
    made = await tx.connection.fetchval(
        SQL["insert_publisher_key"], kid, wanted.account, raw, tx.now, by.operator, expires_at
    )
    if made is None:
        raise Conflict(
            "publisher_key_exists",
            "this key was registered before",
            expected="a key that is new here",
            actual=f"key {kid}",
            hint="make a new key pair; a key that was revoked stays so",
        )
    after = {"account": wanted.account, "expires_at": rfc3339(expires_at)}
    _audit(tx, by, "publisher-key.created", f"publisher-keys/{kid}", before=None, after=after)
    tx.after_commit(lambda: identity.forget_publisher_key(kid))
    return {"kid": kid, "account": wanted.account, "operator": operator_of(wanted.account), "expires_at": expires_at}


async def revoke_publisher_key(tx: Tx, identity: Identity, kid: str, by: By) -> None:
    """Revoke a key: events signed with it are refused from now on. Raises `NotFound` (`publisher_key_unknown`)."""
    known = _KID.fullmatch(kid)
    row = await tx.connection.fetchrow(SQL["revoke_publisher_key"], kid, tx.now) if known else None
    if row is None:
        raise NotFound(
            "publisher_key_unknown",
            "no live publisher key has this id",
            expected="the id of a key that is not revoked",
            actual=repr(kid[:64]),
        )
    before = {"account": row["account"], "expires_at": rfc3339(row["expires_at"])}
    _audit(tx, by, "publisher-key.revoked", f"publisher-keys/{kid}", before=before, after=None)
    tx.after_commit(lambda: identity.forget_publisher_key(kid))


def _audit(tx: Tx, by: By, action: str, resource: str, *, before: Any, after: Any) -> None:
    changes: Sequence[Change] = (Change(path=resource, before=before, after=after),)
    tx.audit(
        action=action,
        resource=resource,
        operator=by.operator,
        authenticated_by=by.authenticated_by,
        cause=by.cause,
        changes=changes,
    )
