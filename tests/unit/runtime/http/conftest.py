"""A small application on the real envelope, with principals for made-up tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter
from prometheus_client import CollectorRegistry

from muniment.contracts.errors import Unauthenticated
from muniment.contracts.identity import ROLES, Principal, operator_of
from muniment.runtime.health import Check
from muniment.runtime.http.app import build_app
from muniment.runtime.http.openapi import Api
from muniment.runtime.metrics import Metrics

Serve = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


class KnownTokens:
    """An authenticator whose tokens are the names of the roles."""

    async def authenticate(self, token: str) -> Principal:
        if token in ROLES:
            return Principal(operator_of(token), frozenset({token}), "token")
        raise Unauthenticated("token_invalid", "the token is not valid")


def app_of(*routers: APIRouter, ready: Mapping[str, Check] | None = None, **options: Any) -> Api:
    """The routers as an application with metrics of its own."""
    metrics = options.pop("metrics", None) or Metrics(CollectorRegistry())
    identity = options.pop("identity", None) or KnownTokens()
    return build_app(version="1.2.3", routers=routers, identity=identity, ready=ready or {}, metrics=metrics, **options)


def bearer(token: str) -> dict[str, str]:
    """The header of a token."""
    return {"authorization": f"Bearer {token}"}


@asynccontextmanager
async def client_of(app: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client; whatever exception leaves the application leaves the client too, so none goes unseen."""
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as client:
        yield client


@pytest.fixture
def serve() -> Serve:
    """`async with serve(router, ...) as client`."""
    return lambda *routers, **options: client_of(app_of(*routers, **options))
