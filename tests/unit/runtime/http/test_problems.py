"""Every failure as a problem document: the right status, everything a caller can use, nothing of the inside."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

import asyncpg
import pytest
from fastapi import APIRouter, Body, Depends, Query
from pydantic import BaseModel
from structlog.testing import capture_logs

from muniment.contracts.errors import (
    Conflict,
    Forbidden,
    Misconfigured,
    MunimentError,
    NotFound,
    PreconditionFailed,
    Rejected,
    TooLarge,
    Transient,
    Unauthenticated,
)
from muniment.contracts.identity import Principal
from muniment.runtime.http.auth import role
from muniment.runtime.http.problems import Problem, problem_of
from muniment.runtime.http.routes import Routes

from .conftest import Serve, bearer

Reader = Annotated[Principal, Depends(role("reader"))]


class Note(BaseModel):
    text: str


def failing(make: Callable[[], Exception]) -> APIRouter:
    router = Routes()

    @router.get("/fail")
    async def fail(_: Reader) -> None:
        raise make()

    return router


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (Rejected, 422),
        (Unauthenticated, 401),
        (Forbidden, 403),
        (NotFound, 404),
        (Conflict, 409),
        (PreconditionFailed, 412),
        (TooLarge, 413),
        (Transient, 503),
        (Misconfigured, 500),
    ],
)
async def test_each_kind_of_error_has_its_status_and_keeps_its_facts(
    serve: Serve, kind: type[MunimentError], status: int
) -> None:
    router = failing(lambda: kind("the_code", "what happened", expected="a", actual="b", hint="do c"))
    async with serve(router) as client:
        answer = await client.get("/api/v1/fail", headers={**bearer("reader"), "x-request-id": "r-1"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document.pop("title")
    assert document == {
        "type": "about:blank",
        "status": status,
        "detail": "what happened",
        "code": "the_code",
        "expected": "a",
        "actual": "b",
        "hint": "do c",
        "request_id": "r-1",
    }


async def test_empty_facts_are_left_out(serve: Serve) -> None:
    async with serve(failing(lambda: Rejected("the_code", "what"))) as client:
        document = (await client.get("/api/v1/fail", headers=bearer("reader"))).json()
    assert {"expected", "actual", "hint"}.isdisjoint(document)


async def test_a_transient_failure_says_when_to_come_back(serve: Serve) -> None:
    async with serve(failing(lambda: Transient("store_away", "away"))) as client:
        answer = await client.get("/api/v1/fail", headers=bearer("reader"))
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_bug_tells_the_caller_nothing_but_the_request_id_and_the_log_everything(serve: Serve) -> None:
    def bug() -> Exception:
        return RuntimeError("the inside: password hunter2")

    with capture_logs() as lines:
        async with serve(failing(bug)) as client:
            answer = await client.get("/api/v1/fail", headers={**bearer("reader"), "x-request-id": "r-2"})
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert answer.json()["request_id"] == "r-2"
    assert "hunter2" not in answer.text
    assert "RuntimeError" not in answer.text
    (line,) = [line for line in lines if line["log_level"] == "error"]
    assert isinstance(line["exc_info"], RuntimeError)
    assert line["path"] == "/api/v1/fail"


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.CannotConnectNowError("starting up"),
        asyncpg.ConnectionDoesNotExistError("gone"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.TooManyConnectionsError("full"),
        asyncpg.ReadOnlySQLTransactionError("standby"),
        asyncpg.DeadlockDetectedError("deadlock"),
        ConnectionRefusedError("refused"),
        FileNotFoundError("no socket"),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_database_that_is_away_is_503_and_not_a_fault(serve: Serve, error: Exception) -> None:
    with capture_logs() as lines:
        async with serve(failing(lambda: error)) as client:
            answer = await client.get("/api/v1/fail", headers=bearer("reader"))
    assert answer.status_code == 503
    assert answer.json()["code"] == "database_unavailable"
    assert "retry-after" in answer.headers
    assert [line["log_level"] for line in lines if line["event"] == "request_unavailable"] == ["warning"]


async def test_wrong_sql_is_a_fault_of_ours(serve: Serve) -> None:
    async with serve(failing(lambda: asyncpg.UndefinedTableError("no such table"))) as client:
        answer = await client.get("/api/v1/fail", headers=bearer("reader"))
    assert answer.status_code == 500
    assert "table" not in answer.text


async def test_unknown_paths_and_methods_are_problems_too(serve: Serve) -> None:
    async with serve(failing(lambda: Rejected("x", "x"))) as client:
        missing = await client.get("/api/v1/nothing")
        wrong = await client.post("/api/v1/fail")
    assert (missing.status_code, missing.json()["code"]) == (404, "route_unknown")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET"
    assert missing.headers["content-type"] == wrong.headers["content-type"] == "application/problem+json"


async def test_a_parameter_that_does_not_fit_is_schema_invalid_and_names_the_place(serve: Serve) -> None:
    router = Routes()

    @router.get("/count")
    async def count(_: Reader, n: Annotated[int, Query(ge=1)]) -> int:
        return n

    async with serve(router) as client:
        answer = await client.get("/api/v1/count?n=none", headers=bearer("reader"))
    assert (answer.status_code, answer.json()["code"]) == (422, "schema_invalid")
    assert "query.n" in answer.json()["detail"]


async def test_a_body_above_the_limit_is_413_in_any_route(serve: Serve) -> None:
    router = Routes()

    @router.post("/note")
    async def note(_: Reader, given: Annotated[Note, Body()]) -> int:
        return len(given.text)

    async def pieces() -> Any:
        for _ in range(100):
            yield b" " * 100

    async with serve(router, max_body_bytes=1000) as client:
        whole = await client.post("/api/v1/note", json={"text": "x" * 2000}, headers=bearer("reader"))
        headers = {**bearer("reader"), "content-type": "application/json"}
        chunked = await client.post("/api/v1/note", content=pieces(), headers=headers)
        small = await client.post("/api/v1/note", json={"text": "xx"}, headers=bearer("reader"))
    assert (whole.status_code, whole.json()["code"]) == (413, "json_too_large")
    assert (chunked.status_code, chunked.json()["code"]) == (413, "json_too_large")
    assert (small.status_code, small.json()) == (200, 2)


async def test_a_route_may_take_larger_bodies_than_the_others_up_to_its_own_limit(serve: Serve) -> None:
    router = Routes()

    @router.post("/many", openapi_extra={"x-max-body-bytes": 5000})
    async def many(_: Reader, given: Annotated[Note, Body()]) -> int:
        return len(given.text)

    async with serve(router, max_body_bytes=1000) as client:
        large = await client.post("/api/v1/many", json={"text": "x" * 2000}, headers=bearer("reader"))
        too_large = await client.post("/api/v1/many", json={"text": "x" * 6000}, headers=bearer("reader"))
    assert (large.status_code, large.json()) == (200, 2000)
    assert (too_large.status_code, too_large.json()["code"]) == (413, "json_too_large")


def test_no_text_can_break_the_document() -> None:
    problem = problem_of(Rejected("the_code", 'half \ud800, NUL \x00, quote "', actual="\u202e\n"))
    document = json.loads(problem.body("r"))
    assert document["code"] == "the_code"
    assert document["actual"] == "\u202e\n"


def test_a_status_without_a_name_has_a_title() -> None:
    assert json.loads(Problem(599, "x", {}).body("r"))["title"] == "Error"
