"""A router of ours: it remembers what is said of each route, and the application makes the route, once.

FastAPI makes a route where it is declared, again for each router that it is included in, and again at each level for a
request. With 150 routes that was most of a second of every start, and more than half of what a small request cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.params import Depends

from muniment.contracts.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Declared:
    """One route: `options` are those of FastAPI's `add_api_route`."""

    path: str
    endpoint: Callable[..., Any]
    options: dict[str, Any]


class Routes(APIRouter):
    """Declared as on FastAPI's router, by `get`, `post` and the others; `declared` are they, in order.

    Of a router itself only a prefix, tags and dependencies may be said.
    """

    def __init__(
        self,
        *,
        prefix: str = "",
        tags: list[str | Enum] | None = None,
        dependencies: Sequence[Depends] | None = None,
    ) -> None:
        super().__init__(prefix=prefix, tags=tags, dependencies=dependencies)
        self.declared: list[Declared] = []

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Remember a route, under this router's prefix, tags and dependencies."""
        under = {
            "tags": [*self.tags, *(options.get("tags") or ())],
            "dependencies": [*self.dependencies, *(options.get("dependencies") or ())],
        }
        self.declared.append(Declared(self.prefix + path, endpoint, options | under))

    def include_router(  # type: ignore[override]  # reason: what else FastAPI takes here is said on the router itself
        self, router: APIRouter, *, prefix: str = ""
    ) -> None:
        """Take over another's routes, as they are now. Raises `Misconfigured` (`router_unknown`) for a plain router."""
        for one in declared_by(router):
            self.add_api_route(prefix + one.path, one.endpoint, **one.options)


def declared_by(router: APIRouter) -> Sequence[Declared]:
    """The routes of a router. Raises `Misconfigured` (`router_unknown`) where there are others than it can name."""
    if not isinstance(router, Routes) or router.routes:
        raise Misconfigured(
            "router_unknown",
            "only routes that were declared on `Routes` are served",
            expected="muniment.runtime.http.routes.Routes, with get, post, put, patch or delete",
            actual=f"{type(router).__name__} with {len(router.routes)} routes made already",
        )
    return router.declared


def make(app: FastAPI, router: APIRouter, prefix: str = "") -> None:
    """Make the routes of a router the application's own, under `prefix`. Raises as `declared_by`."""
    for one in declared_by(router):
        app.router.add_api_route(prefix + one.path, one.endpoint, **one.options)
