"""The identity routes before any database: who may call them, and which bodies are refused. All routes, by a walk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from muniment.contracts.errors import Unauthenticated
from muniment.contracts.identity import ROLES, Principal, Role
from muniment.runtime.http.app import build_app
from muniment.runtime.http.auth import guards
from muniment.runtime.http.openapi import Api
from muniment.runtime.identity.http import router
from muniment.runtime.identity.tokens import new_token
from muniment.runtime.metrics import Metrics


@dataclass
class KnownTokens:
    """One token a role; others fail with the code that is their text."""

    async def authenticate(self, token: str) -> Principal:
        if token in ROLES:
            return Principal(f"muniment|{token}", frozenset({token}), "token")
        raise Unauthenticated(token, "no")


class NoDatabase:
    """Transactions that nobody may begin: a refusal comes before."""

    def begin(self) -> Any:
        raise AssertionError("the database was asked")


def app() -> Api:
    routes = router(cast("Any", None), cast("Any", NoDatabase()))
    metrics = Metrics(CollectorRegistry())
    return build_app(version="1", routers=[routes], identity=KnownTokens(), ready={}, metrics=metrics)


def client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app()), base_url="http://test/api/v1")


ROUTES = [
    (method, route.path.removeprefix("/api/v1").replace("{name}", "x").replace("{kid}", "0" * 16))
    for _, route, found in guards(app())
    if found is not None and route.path
    for method in sorted(route.methods or ())
]


def test_the_walk_found_every_route() -> None:
    assert sorted(ROUTES) == [
        ("DELETE", f"/publisher-keys/{'0' * 16}"),
        ("DELETE", "/tokens/x"),
        ("GET", "/publisher-keys"),
        ("GET", "/tokens"),
        ("POST", "/publisher-keys"),
        ("POST", "/tokens"),
    ]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_every_route_refuses_whoever_is_not_an_admin(method: str, path: str) -> None:
    async with client() as http:
        assert (await http.request(method, path)).json()["code"] == "token_missing"
        for code in ("token_invalid", "token_expired", "token_revoked"):
            answer = await http.request(method, path, headers={"authorization": f"Bearer {code}"})
            assert (answer.status_code, answer.json()["code"]) == (401, code)
        others: list[Role] = ["reader", "writer", "promoter", "auditor"]
        for role in others:
            answer = await http.request(method, path, headers={"authorization": f"Bearer {role}"})
            assert (answer.status_code, answer.json()["code"]) == (403, "role_missing")


TOKEN: dict[str, Any] = {"name": "ci", "roles": ["writer"]}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "schema_invalid"),
        ({**TOKEN, "name": ""}, "name_invalid"),
        ({**TOKEN, "name": "a b"}, "name_invalid"),
        ({**TOKEN, "name": "a|b"}, "name_invalid"),
        ({**TOKEN, "name": "a/b"}, "name_invalid"),
        ({**TOKEN, "name": "../x"}, "name_invalid"),
        ({**TOKEN, "name": "x" * 129}, "name_invalid"),
        ({**TOKEN, "name": "unsigned"}, "subject_reserved"),
        ({**TOKEN, "subject": "System"}, "subject_reserved"),
        ({**TOKEN, "subject": "registry"}, "subject_reserved"),
        ({**TOKEN, "subject": "x\n"}, "name_invalid"),
        ({**TOKEN, "roles": []}, "schema_invalid"),
        ({**TOKEN, "roles": ["root"]}, "schema_invalid"),
        ({**TOKEN, "roles": ["reader"] * 6}, "schema_invalid"),
        ({**TOKEN, "roles": "admin"}, "schema_invalid"),
        ({**TOKEN, "days": 0}, "schema_invalid"),
        ({**TOKEN, "days": 367}, "schema_invalid"),
        ({**TOKEN, "days": "30"}, "schema_invalid"),
        ({**TOKEN, "days": None}, "schema_invalid"),
        ({**TOKEN, "token": new_token()[0]}, "schema_invalid"),
        ({**TOKEN, "created_by": "muniment|root"}, "schema_invalid"),
    ],
)
async def test_a_token_that_may_not_be_is_refused(body: dict[str, Any], code: str) -> None:
    async with client() as http:
        answer = await http.post("/tokens", content=json.dumps(body), headers={"authorization": "Bearer admin"})
    assert (answer.status_code, answer.json()["code"]) == (422, code)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"account": "unsigned", "public_key": "x"}, "subject_reserved"),
        ({"account": "a b", "public_key": "x"}, "name_invalid"),
        ({"account": "a", "public_key": "x" * 5000}, "schema_invalid"),
        ({"account": "a", "public_key": "x", "kid": "0" * 16}, "schema_invalid"),
    ],
)
async def test_a_publisher_key_that_may_not_be_is_refused(body: dict[str, Any], code: str) -> None:
    async with client() as http:
        answer = await http.post("/publisher-keys", content=json.dumps(body), headers={"authorization": "Bearer admin"})
    assert (answer.status_code, answer.json()["code"]) == (422, code)
