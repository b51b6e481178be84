"""Who may call: no route without a role, no role without a token, and no role that implies more than it should."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter, Depends
from starlette.applications import Starlette

from muniment.contracts.errors import Misconfigured
from muniment.contracts.identity import ROLES, Principal, Role
from muniment.runtime.http.auth import OPEN_PATHS, check_guarded, guards, role
from muniment.runtime.http.routes import Routes

from .conftest import Serve, app_of, bearer

# Written by hand, against the code's own table: the row's role calls a route of the column's role.
ALLOWED: dict[Role, set[Role]] = {
    "reader": {"reader"},
    "writer": {"reader", "writer"},
    "promoter": {"reader", "writer", "promoter"},
    "auditor": {"reader", "auditor"},
    "admin": {"reader", "writer", "promoter", "auditor", "admin"},
}


def one_route_a_role() -> APIRouter:
    router = Routes()

    def add(name: Role) -> None:
        needs = Depends(role(name))

        async def call(who: Principal = needs) -> dict[str, str]:
            return {"operator": who.operator}

        router.add_api_route(f"/{name}", call, name=f"call_{name}")

    for name in ROLES:
        add(name)
    return router


@pytest.mark.parametrize("wanted", ROLES)
@pytest.mark.parametrize("held", ROLES)
async def test_a_role_opens_what_it_implies_and_nothing_else(serve: Serve, held: Role, wanted: Role) -> None:
    async with serve(one_route_a_role()) as client:
        answer = await client.get(f"/api/v1/{wanted}", headers=bearer(held))
    if wanted in ALLOWED[held]:
        assert (answer.status_code, answer.json()) == (200, {"operator": f"muniment|{held}"})
    else:
        assert (answer.status_code, answer.json()["code"]) == (403, "role_missing")
        assert answer.json()["expected"] == wanted
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


async def test_without_a_token_there_is_a_challenge_and_no_error_in_it(serve: Serve) -> None:
    async with serve(one_route_a_role()) as client:
        answer = await client.get("/api/v1/reader")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")
    assert answer.headers["www-authenticate"] == 'Bearer realm="muniment"'


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", "Bearer nobody")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer  ")],
        [("authorization", "Basic cmVhZGVyOg==")],
        [("authorization", "reader")],
        [("authorization", "Bearer reader"), ("authorization", "Bearer admin")],
    ],
)
async def test_a_header_that_cannot_be_used_is_401_and_is_not_repeated(serve: Serve, headers: Any) -> None:
    async with serve(one_route_a_role()) as client:
        answer = await client.get("/api/v1/reader", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert "cmVhZGVyOg" not in answer.text


async def test_a_token_anywhere_else_is_no_token(serve: Serve) -> None:
    async with serve(one_route_a_role()) as client:
        query = await client.get("/api/v1/reader?access_token=reader")
        client.cookies.set("token", "reader")
        cookie = await client.get("/api/v1/reader")
    assert [query.json()["code"], cookie.json()["code"]] == ["token_missing", "token_missing"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_read_without_regard_to_case(serve: Serve, scheme: str) -> None:
    async with serve(one_route_a_role()) as client:
        answer = await client.get("/api/v1/reader", headers={"authorization": f"{scheme} reader"})
    assert answer.status_code == 200


def test_an_application_with_an_unguarded_route_is_not_built() -> None:
    inner, outer = Routes(), Routes(prefix="/outer")

    @inner.get("/forgotten")
    async def forgotten() -> int:
        return 1

    outer.include_router(inner)
    with pytest.raises(Misconfigured) as caught:
        app_of(one_route_a_role(), outer)
    assert caught.value.code == "route_unguarded"
    assert caught.value.actual == "GET /api/v1/outer/forgotten"


def test_a_mounted_application_counts_as_unguarded() -> None:
    app = app_of(one_route_a_role())
    app.mount("/files", Starlette())
    with pytest.raises(Misconfigured, match="/files"):
        check_guarded(app, OPEN_PATHS)


def test_a_role_asked_for_by_the_router_guards_its_routes() -> None:
    router = Routes(dependencies=[Depends(role("admin"))])

    @router.get("/inside")
    async def inside() -> int:
        return 1

    roles = {route.path: found for _, route, found in guards(app_of(router))}
    assert roles["/api/v1/inside"] == "admin"


async def test_the_open_paths_are_those_of_the_list_and_answer_without_a_token(serve: Serve) -> None:
    app = app_of(one_route_a_role(), asyncapi=b"{}")
    open_now = {str(route.path) for _, route, found in guards(app) if found is None}
    assert open_now == OPEN_PATHS
    async with serve(asyncapi=b"{}") as client:
        for path in sorted(open_now - {"/schemas/{name}"}):
            assert (await client.get(path)).status_code == 200, path
