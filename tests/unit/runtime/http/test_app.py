"""What every process answers, and what surrounds every answer."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import APIRouter, Depends
from prometheus_client import CollectorRegistry
from starlette.responses import StreamingResponse
from structlog.contextvars import bound_contextvars, get_contextvars
from structlog.testing import capture_logs

from muniment.contracts.errors import Misconfigured, Transient
from muniment.contracts.identity import Principal
from muniment.contracts.model import Payload
from muniment.runtime.http.auth import role
from muniment.runtime.http.requests import body
from muniment.runtime.http.routes import Routes
from muniment.runtime.metrics import Metrics

from .conftest import Serve, app_of, bearer, client_of

Reader = Annotated[Principal, Depends(role("reader"))]


class Inner(Payload):
    n: int


class Wanted(Payload):
    inner: Inner


def things() -> APIRouter:
    router = Routes()

    @router.get("/things/{name}")
    async def get_thing(_: Reader, name: str) -> dict[str, Any]:
        return {"name": name, "context": get_contextvars()}

    @router.post("/things")
    async def add_thing(_: Reader, wanted: Annotated[Wanted, Depends(body(Wanted))]) -> int:
        return wanted.inner.n

    @router.get("/broken")
    async def get_broken(_: Reader) -> StreamingResponse:
        async def pieces() -> Any:
            yield b"half"
            raise RuntimeError("in the middle")

        return StreamingResponse(pieces())

    return router


async def ok() -> None:
    """A part that answers."""


async def test_healthz_asks_nobody(serve: Serve) -> None:
    async def away() -> None:
        raise Transient("store_away", "away")

    async with serve(ready={"store": away}) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503


async def test_readyz_names_what_failed_and_why(serve: Serve) -> None:
    async def away() -> None:
        raise Transient("store_away", "the store does not answer", actual="connection refused")

    async with serve(ready={"postgres": ok, "s3": away}) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    report = answer.json()
    assert report["ready"] is False
    assert report["checks"]["postgres"]["ok"] is True
    assert report["checks"]["s3"]["why"] == "the store does not answer; actual connection refused"


async def test_readyz_is_200_when_all_answer(serve: Serve) -> None:
    async with serve(ready={"postgres": ok, "s3": ok}) as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)


async def test_version_and_metrics(serve: Serve) -> None:
    async with serve(things()) as client:
        assert (await client.get("/version")).json() == {"name": "muniment", "version": "1.2.3"}
        await client.get("/api/v1/things/secret-model", headers=bearer("reader"))
        await client.get("/api/v1/nowhere/secret-model")
        await client.request("BREW", "/healthz")
        text = (await client.get("/metrics")).text
    line = 'muniment_http_requests_total{method="GET",route="/api/v1/things/{name}",status="200"} 1.0'
    assert line in text
    assert 'method="GET",route="unmatched",status="404"' in text
    assert 'method="OTHER"' in text
    assert "BREW" not in text  # labels are ours to choose, never a caller's
    assert "secret-model" not in text


async def test_metrics_speak_openmetrics_when_asked(serve: Serve) -> None:
    async with serve() as client:
        answer = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_schemas_are_served_by_name_and_nothing_else_is(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "schemas"
    folder.mkdir()
    (folder / "model-trained.v1.json").write_text('{"type": "object"}')
    (folder / "notes.txt").write_text("not a schema")
    (tmp_path / "secret.json").write_text("{}")
    async with serve(schemas=folder) as client:
        assert (await client.get("/schemas")).json() == {"items": ["model-trained.v1.json"]}
        found = await client.get("/schemas/model-trained.v1.json")
        wrong = [
            (await client.get(f"/schemas/{name}")).status_code
            for name in (
                "other.json",
                "notes.txt",
                "..%2fsecret.json",
                "%2e%2e%2fsecret.json",
                "..%5csecret.json",
                "%00",
            )
        ]
    assert (found.status_code, found.json()) == (200, {"type": "object"})
    assert found.headers["content-type"] == "application/schema+json"
    assert wrong == [404] * 6


async def test_the_events_own_schemas_are_served_unless_told_otherwise(serve: Serve) -> None:
    async with serve() as client:
        names = (await client.get("/schemas")).json()["items"]
        schema = (await client.get("/schemas/version-available.v1.json")).json()
    assert "version-available.v1.json" in names
    assert "properties" in schema


async def test_openapi_is_31_and_complete(serve: Serve) -> None:
    async with serve(things()) as client:
        document = (await client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    operation = document["paths"]["/api/v1/things"]["post"]
    assert operation["operationId"] == "add_thing"
    assert operation["security"] == [{"token": []}]
    assert operation["requestBody"]["required"] is True
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/WantedBody"
    }
    schemas = document["components"]["schemas"]
    assert schemas["WantedBody"]["properties"]["inner"] == {"$ref": "#/components/schemas/InnerBody"}
    assert "application/problem+json" in operation["responses"]["default"]["content"]
    assert "security" not in document["paths"]["/healthz"]["get"]
    refs = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', str(document).replace("'", '"')))
    assert refs <= set(schemas)
    assert "HTTPValidationError" not in refs


async def test_no_page_is_served_that_loads_scripts_from_elsewhere(serve: Serve) -> None:
    async with serve() as client:
        assert [(await client.get(path)).status_code for path in ("/docs", "/redoc")] == [404, 404]


async def test_a_trailing_slash_is_another_path_and_no_redirect(serve: Serve) -> None:
    async with serve(things()) as client:
        answer = await client.get("/healthz/")
    assert answer.status_code == 404


@pytest.mark.parametrize("path", ["/healthz", "/nothing", "/api/v1/things/x"])
async def test_every_answer_carries_the_headers(serve: Serve, path: str) -> None:
    async with serve(things()) as client:
        headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert len(headers.get_list("x-request-id")) == 1


async def test_a_route_may_choose_its_own_header(serve: Serve) -> None:
    async with serve() as client:
        answer = await client.get("/schemas/version-available.v1.json")
    assert answer.headers.get_list("cache-control") == ["public, max-age=300"]


async def test_log_lines_of_a_request_carry_its_id_and_those_after_it_do_not(serve: Serve) -> None:
    with bound_contextvars(request_id="outer"):
        async with serve(things()) as client:
            answer = await client.get("/api/v1/things/x", headers={**bearer("reader"), "x-request-id": "r-9"})
        after = get_contextvars()
    assert answer.json()["context"] == {"request_id": "r-9"}
    assert after == {"request_id": "outer"}


async def test_ordinary_requests_are_logged_at_debug_and_refused_callers_at_info(serve: Serve) -> None:
    with capture_logs() as lines:
        async with serve(things()) as client:
            await client.get("/api/v1/things/x", headers=bearer("reader"))
            await client.get("/api/v1/things/x")
            await client.get("/nothing")
    requests = [(line["log_level"], line["status"]) for line in lines if line["event"] == "request"]
    assert requests == [("debug", 200), ("info", 401), ("debug", 404)]


async def test_a_failure_after_the_answer_began_is_not_hidden() -> None:
    metrics = Metrics(CollectorRegistry())
    app = app_of(things(), metrics=metrics)
    with capture_logs() as lines:
        async with client_of(app) as client:
            with pytest.raises(RuntimeError, match="in the middle"):
                await client.get("/api/v1/broken", headers=bearer("reader"))
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["request_failed"]


async def test_something_that_is_no_request_passes_through() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(messages)

    await app_of()({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_two_routes_with_one_name_are_refused() -> None:
    with pytest.raises(Misconfigured) as caught:
        app_of(things(), things())
    assert caught.value.code == "operation_repeated"
    assert "get_thing" in (caught.value.actual or "")


def test_a_route_or_dependency_that_blocks_is_refused() -> None:
    def slow() -> int:
        return 1

    needs = Depends(slow)
    router = Routes()

    @router.get("/slow", dependencies=[Depends(role("reader")), needs])
    async def get_slow() -> int:
        return 1

    with pytest.raises(Misconfigured) as caught:
        app_of(router)
    assert (caught.value.code, caught.value.actual) == ("operation_blocking", "/api/v1/slow: slow")


async def test_many_requests_at_once_keep_their_own_ids(serve: Serve) -> None:
    async with serve(things()) as client:

        async def one(n: int) -> httpx2.Response:
            return await client.get(f"/api/v1/things/{n}", headers={**bearer("reader"), "x-request-id": f"r{n}"})

        answers = await asyncio.gather(*(one(n) for n in range(50)))
    for n, answer in enumerate(answers):
        assert answer.json() == {"name": str(n), "context": {"request_id": f"r{n}"}}
        assert answer.headers["x-request-id"] == f"r{n}"
