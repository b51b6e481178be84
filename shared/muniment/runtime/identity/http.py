"""The HTTP API of tokens and publisher keys. Admins only; hosted by one service, in whose transactions it writes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from muniment.contracts.identity import Principal, Role, operator_of
from muniment.contracts.model import Timestamp
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.http.auth import role
from muniment.runtime.http.pages import Page, page_of
from muniment.runtime.http.requests import body, cause_of
from muniment.runtime.http.routes import Routes
from muniment.runtime.identity import management
from muniment.runtime.identity.management import By, PublisherKeyWanted, TokenWanted
from muniment.runtime.identity.store import SQL, Identity

Admin = Annotated[Principal, Depends(role("admin"))]
Paged = Annotated[Page, Depends(page_of)]
_NEWEST = 2**53 - 1


class TokenSeen(BaseModel):
    """A token as it may be shown: all but itself."""

    name: str
    operator: str
    roles: list[Role]
    created_at: Timestamp
    created_by: str
    expires_at: Timestamp
    revoked_at: Timestamp | None
    last_used_at: Timestamp | None


class TokenCreated(BaseModel):
    """A new token. `token` is shown in this answer and never again."""

    name: str
    operator: str
    roles: list[Role]
    expires_at: Timestamp
    token: str


class PublisherKeySeen(BaseModel):
    """A registered publisher key."""

    kid: str
    account: str
    operator: str
    created_at: Timestamp
    created_by: str
    expires_at: Timestamp
    revoked_at: Timestamp | None


class PublisherKeyCreated(BaseModel):
    """A newly registered publisher key."""

    kid: str
    account: str
    operator: str
    expires_at: Timestamp


class TokenPage(BaseModel):
    """Tokens, newest first, revoked ones among them."""

    items: list[TokenSeen]
    next_page_token: str | None


class PublisherKeyPage(BaseModel):
    """Publisher keys, newest first, revoked ones among them."""

    items: list[PublisherKeySeen]
    next_page_token: str | None


def router(identity: Identity, transactions: Transactions) -> APIRouter:
    """The routes, to be included in the hosting service's."""
    routes = Routes(tags=["identity"])

    @routes.post("/tokens", status_code=201)
    async def create_token(
        request: Request, admin: Admin, wanted: Annotated[TokenWanted, Depends(body(TokenWanted))]
    ) -> TokenCreated:
        """Make a token. Its text is in this answer and nowhere else."""
        async with transactions.begin() as tx:
            made = await management.create_token(tx, wanted, _by(admin, request))
        return TokenCreated(
            name=made.name,
            operator=operator_of(made.subject),
            roles=list(made.roles),
            expires_at=made.expires_at,
            token=made.token,
        )

    @routes.get("/tokens")
    async def list_tokens(admin: Admin, page: Paged) -> TokenPage:
        """All tokens, newest first."""
        (before,) = page.after(int) or (_NEWEST,)
        rows = await transactions.pool.fetch(SQL["list_tokens"], before, page.fetch)
        answer = page.answer(rows, item=lambda row: _seen(row, "subject"), key=lambda row: (row["id"],))
        return TokenPage.model_validate(answer)

    @routes.delete("/tokens/{name}", status_code=204)
    async def revoke_token(request: Request, admin: Admin, name: str) -> Response:
        """Revoke the live token of this name. Elsewhere it may still be taken for 5 s."""
        async with transactions.begin() as tx:
            await management.revoke_token(tx, identity, name, _by(admin, request))
        return Response(status_code=204)

    @routes.post("/publisher-keys", status_code=201)
    async def create_publisher_key(
        request: Request, admin: Admin, wanted: Annotated[PublisherKeyWanted, Depends(body(PublisherKeyWanted))]
    ) -> PublisherKeyCreated:
        """Register a public key: events signed with it are the account's."""
        async with transactions.begin() as tx:
            made = await management.create_publisher_key(tx, identity, wanted, _by(admin, request))
        return PublisherKeyCreated.model_validate(made)

    @routes.get("/publisher-keys")
    async def list_publisher_keys(admin: Admin, page: Paged) -> PublisherKeyPage:
        """All publisher keys, newest first."""
        (before,) = page.after(int) or (_NEWEST,)
        rows = await transactions.pool.fetch(SQL["list_publisher_keys"], before, page.fetch)
        answer = page.answer(rows, item=lambda row: _seen(row, "account"), key=lambda row: (row["id"],))
        return PublisherKeyPage.model_validate(answer)

    @routes.delete("/publisher-keys/{kid}", status_code=204)
    async def revoke_publisher_key(request: Request, admin: Admin, kid: str) -> Response:
        """Revoke a key: events signed with it are refused from now on. Elsewhere it may still be taken for 5 s."""
        async with transactions.begin() as tx:
            await management.revoke_publisher_key(tx, identity, kid, _by(admin, request))
        return Response(status_code=204)

    return routes


def _by(admin: Principal, request: Request) -> By:
    return By.principal(admin, cause_of(request))


def _seen(row: Any, subject: str) -> dict[str, Any]:
    fields: dict[str, str | datetime | list[str] | None] = dict(row)
    return {**fields, "operator": operator_of(row[subject])}
