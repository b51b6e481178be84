"""The HTTP application of a process: the services' routers behind one envelope, and what every process answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from inspect import isasyncgenfunction, iscoroutinefunction, isroutine
from typing import Annotated, Final

from fastapi import APIRouter, Header, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from prometheus_client.exposition import choose_encoder
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from muniment.contracts import strict_json
from muniment.contracts.errors import Misconfigured, MunimentError, NotFound
from muniment.runtime.health import Check, Readiness
from muniment.runtime.http.auth import OPEN_PATHS, Authenticator, check_guarded
from muniment.runtime.http.envelope import Envelope
from muniment.runtime.http.openapi import Api
from muniment.runtime.http.problems import answer_problem
from muniment.runtime.http.routes import Routes, make
from muniment.runtime.metrics import Metrics

PREFIX: Final = "/api/v1"


def build_app(
    *,
    version: str,
    routers: Sequence[APIRouter],
    identity: Authenticator,
    ready: Mapping[str, Check],
    notes: Mapping[str, Check] | None = None,
    metrics: Metrics,
    title: str = "Muniment",
    schemas: Traversable | None = None,
    asyncapi: bytes | None = None,
    open_paths: frozenset[str] = OPEN_PATHS,
    max_body_bytes: int = strict_json.MAX_BYTES,
) -> Api:
    """The application: `routers` under `/api/v1`, beside /healthz, /readyz, /version, /metrics, /schemas and
    /openapi.json.

    `ready` are the checks of /readyz, `notes` what it tells beside them; `schemas` the folder of event schemas (that
    of muniment.contracts unless given);
    `max_body_bytes` the largest body, but for a route that says `openapi_extra={"x-max-body-bytes": N}`;
    `open_paths` what may be answered without a token. Whoever serves it sets `app.state.stopping` before the server
    stops: answers without an end then come to one. Raises `Misconfigured`: `route_unguarded`, `operation_repeated`,
    `router_unknown`.
    """
    app = Api(
        title=title,
        version=version,
        openapi_url="/openapi.json",
        docs_url=None,  # both pages load their scripts from a third party
        redoc_url=None,
        redirect_slashes=False,  # one path, one spelling: a redirect would answer before any role is asked for
        generate_unique_id_function=_operation_id,
    )
    app.state.authenticator = identity
    app.state.stopping = asyncio.Event()
    for kind in (MunimentError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer_problem)
    make(app, _always(version, Readiness(ready, notes), metrics, _documents(schemas), asyncapi))
    for router in routers:
        make(app, router, PREFIX)
    check_guarded(app, open_paths)
    _check_operations(app)
    routes = list(iter_route_contexts(app.routes))
    names = {id(route.original_route): route.path or "unmatched" for route in routes}
    limits = {id(route.original_route): _max_body_bytes(route) or max_body_bytes for route in routes}
    app.add_middleware(Envelope, metrics=metrics, route_names=names, max_body_bytes=max_body_bytes, route_limits=limits)
    return app


def _max_body_bytes(route: RouteContext) -> int | None:
    extra = getattr(route.original_route, "openapi_extra", None) or {}
    found = extra.get("x-max-body-bytes")
    return found if isinstance(found, int) else None


def _always(
    version: str, readiness: Readiness, metrics: Metrics, schemas: Mapping[str, bytes], asyncapi: bytes | None
) -> APIRouter:
    """What every process answers, to anyone."""
    routes = Routes(tags=["process"])

    @routes.get("/healthz")
    async def healthz() -> Response:
        """The event loop runs. Says nothing of the parts: a restart would not mend them."""
        return JSONResponse({"status": "ok"})

    @routes.get("/readyz")
    async def readyz() -> Response:
        """Every part this process needs answers; 503 names those that do not, and why. `notes`: what else is wrong."""
        report = await readiness.report()
        found = {"ready": report.ready, "checks": report.checks, "notes": report.notes}
        return JSONResponse(found, 200 if report.ready else 503)

    @routes.get("/version")
    async def version_of_server() -> Response:
        """The server's version."""
        return JSONResponse({"name": "muniment", "version": version})

    @routes.get("/metrics")
    async def prometheus_metrics(accept: Annotated[str, Header()] = "") -> Response:
        """Metrics for Prometheus."""
        encode, content_type = choose_encoder(accept)
        return Response(encode(metrics.registry), headers={"content-type": content_type})

    @routes.get("/schemas")
    async def event_schemas() -> Response:
        """The names of the events' JSON Schemas."""
        return JSONResponse({"items": sorted(schemas)})

    @routes.get("/schemas/{name}")
    async def event_schema(name: str) -> Response:
        """One JSON Schema (draft 2020-12), by the last part of an event's `dataschema`."""
        if (text := schemas.get(name)) is None:
            raise NotFound("schema_unknown", "no schema has this name", actual=name[:200], hint="/schemas lists them")
        return Response(text, media_type="application/schema+json", headers=_KEEP)

    if asyncapi is not None:

        @routes.get("/asyncapi.json")
        async def asyncapi_document() -> Response:
            """The topics and events (AsyncAPI)."""
            return Response(asyncapi, media_type="application/json", headers=_KEEP)

    return routes


_KEEP: Final = {"cache-control": "public, max-age=300"}


def _documents(folder: Traversable | None) -> dict[str, bytes]:
    """The schemas, read once: a request can name an entry of this table, never a path."""
    place = folder if folder is not None else files("muniment.contracts").joinpath("schemas")
    if not place.is_dir():
        return {}
    return {entry.name: entry.read_bytes() for entry in place.iterdir() if entry.name.endswith(".json")}


def _operation_id(route: APIRoute) -> str:
    return route.name


def _check_operations(app: Api) -> None:
    """Operation ids are the functions' names: stable, short, and each given once, since SDKs are made from them.

    Functions and dependencies are coroutines: each plain function would cost a request a hop to a thread.
    """
    routes = [route for route in iter_route_contexts(app.routes) if isinstance(route.original_route, APIRoute)]
    if repeated := [name for name, count in Counter(route.name for route in routes).items() if count > 1]:
        raise Misconfigured(
            "operation_repeated",
            "two routes have one operation id",
            expected="functions of routes have names of their own",
            actual=", ".join(str(name) for name in repeated),
        )
    if blocking := [f"{route.path}: {name}" for route in routes for name in _blocking(route.dependant)]:
        raise Misconfigured(
            "operation_blocking",
            "routes or their dependencies are plain functions",
            expected="async def",
            actual="; ".join(blocking),
        )


def _blocking(dependant: Dependant) -> Iterator[str]:
    call = dependant.call
    runs = call if isroutine(call) else type(call).__call__  # an object whose class is a coroutine when called
    if not (iscoroutinefunction(runs) or isasyncgenfunction(runs)):
        yield getattr(call, "__name__", repr(call))
    for inner in dependant.dependencies:
        yield from _blocking(inner)
