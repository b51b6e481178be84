"""Who may call a route. Every route names a role, or stands on the short list of open ones; there is no third way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Protocol

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import HTTPBearer
from fastapi.routing import RouteContext, iter_route_contexts
from fastapi.security.base import SecurityBase
from starlette.requests import Request

from muniment.contracts.errors import Misconfigured, Unauthenticated
from muniment.contracts.identity import Principal, Role

OPEN_PATHS: Final = frozenset(
    {
        "/healthz",
        "/readyz",
        "/version",
        "/metrics",
        "/schemas",
        "/schemas/{name}",
        "/openapi.json",
        "/asyncapi.json",
    }
)
"""Paths that answer without a token. They tell nothing of models, people or settings."""
PRINCIPAL: Final = "muniment_principal"
"""Where a request's state has the caller, once known, whether or not they may do what they ask."""


class Authenticator(Protocol):
    """Whoever knows tokens."""

    async def authenticate(self, token: str) -> Principal:
        """The principal of a token, or `Unauthenticated`."""
        ...


class RequireRole(SecurityBase):
    """A dependency that lets a principal with `role` pass. FastAPI takes it for a security scheme as well."""

    def __init__(self, role: Role) -> None:
        self.role: Role = role
        self.model = HTTPBearer(description="An API token: `Authorization: Bearer mnt_...`")
        self.scheme_name = "token"

    async def __call__(self, request: Request) -> Principal:
        """The caller. Raises `Unauthenticated` (`token_missing`, `token_...`) and `Forbidden` (`role_missing`)."""
        authenticator: Authenticator = request.app.state.authenticator
        principal = await authenticator.authenticate(bearer_token(request))
        setattr(request.state, PRINCIPAL, principal)
        principal.require(self.role)
        return principal


def role(name: Role) -> Callable[[Request], Awaitable[Principal]]:
    """`Annotated[Principal, Depends(role("writer"))]`: the caller, who has this role or one that implies it."""
    return RequireRole(name)


def bearer_token(request: Request) -> str:
    """The token of the one `Authorization: Bearer` header (RFC 6750, section 2.1); nothing else carries one."""
    given = request.headers.getlist("authorization")
    if not given:
        raise Unauthenticated(
            "token_missing",
            "this needs a token",
            expected="Authorization: Bearer mnt_...",
            actual="no Authorization header",
            hint="set MUNIMENT_TOKEN, or ask an admin for a token",
        )
    scheme, _, token = given[0].partition(" ")
    if len(given) != 1 or scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated(
            "token_invalid",
            "the Authorization header cannot be used",
            expected="one header, Bearer and a token",
            actual=f"{len(given)} headers" if len(given) > 1 else "another scheme, or no token",
        )
    return token.strip()


def guards(app: FastAPI) -> Iterator[tuple[str, RouteContext, Role | None]]:
    """Every route of the app as (label, route, role it requires), however deep it was included."""
    for route in iter_route_contexts(app.routes):
        label = f"{' '.join(sorted(route.methods or ['*']))} {route.path or repr(route.route)}"
        dependant: Dependant | None = getattr(route, "dependant", None)
        yield label, route, None if dependant is None else _role_of(dependant)


def check_guarded(app: FastAPI, open_paths: frozenset[str]) -> None:
    """Refuse an app with a route that neither requires a role nor is open (`Misconfigured`, `route_unguarded`)."""
    unguarded = [label for label, route, role in guards(app) if role is None and route.path not in open_paths]
    if unguarded:
        raise Misconfigured(
            "route_unguarded",
            "routes without a role",
            expected="each route has a Depends(role(...)) or stands in OPEN_PATHS",
            actual="; ".join(unguarded),
        )


def _role_of(dependant: Dependant) -> Role | None:
    if isinstance(dependant.call, RequireRole):
        return dependant.call.role
    return next((found for inner in dependant.dependencies if (found := _role_of(inner)) is not None), None)
