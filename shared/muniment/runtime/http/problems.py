"""Errors as HTTP answers: RFC 9457 problem documents with a stable code, what was expected, what came, what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, cast

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from muniment.adapters.postgres import RACES, UNAVAILABLE
from muniment.contracts.codec import expectation
from muniment.contracts.errors import Forbidden, MunimentError, Transient, Unauthenticated

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 2
REQUEST_ID: Final = "muniment.request_id"
"""The key of the request's id in its ASGI scope."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem document. `facts` are its extension members: code, expected, actual, hint."""

    status: int
    detail: str
    facts: Mapping[str, Any]
    headers: dict[str, str] = field(default_factory=dict)

    def body(self, request_id: str) -> bytes:
        """The document. Its type is `about:blank`, so its title is the status's name (RFC 9457, 4.2.1)."""
        members = {
            "type": "about:blank",
            "title": _title(self.status),
            "status": self.status,
            "detail": self.detail,
            **self.facts,
            "request_id": request_id,
        }
        return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")

    def response(self, request_id: str) -> Response:
        """The answer that carries it."""
        return Response(self.body(request_id), self.status, self.headers, MEDIA_TYPE)


def problem_of(error: Exception) -> Problem:
    """The problem that an exception is to its caller. What is ours to mend says nothing of its inside."""
    if isinstance(error, HTTPException):
        # FastAPI wraps what fails while a body is read; the cause is the better story.
        return problem_of(error.__cause__) if isinstance(error.__cause__, MunimentError) else _of_http(error)
    if isinstance(error, MunimentError):
        return _of_ours(error)
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
    if isinstance(error, (*UNAVAILABLE, *RACES)):
        unavailable = Transient(
            "database_unavailable",
            "the database, or another part this needs, does not answer as it should",
            actual=type(error).__name__,
            hint="try again; whether a change was made is unknown until then. /readyz says which part is down",
        )
        return _of_ours(unavailable)
    return Problem(
        500,
        "this is a fault of the server",
        {"code": "internal_error", "hint": "tell whoever runs the server the request_id: the log has the rest"},
    )


async def answer_problem(request: Request, error: Exception) -> Response:
    """An exception handler for Starlette: logs what the server's keeper must know, answers the rest."""
    problem = problem_of(error)
    log_problem(problem, error, request.scope)
    return problem.response(request.scope.get(REQUEST_ID, ""))


def log_problem(problem: Problem, error: Exception, scope: Mapping[str, Any]) -> None:
    """A fault of ours with its traceback; a part that is away in one line; the caller's faults not at all."""
    if isinstance(error, Transient) and error.retry_after is not None:
        return  # a line for each would be load upon load; who refuses says when it begins and ends
    where = {"method": scope.get("method"), "path": str(scope.get("path"))[:500]}
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request_failed", exc_info=error, **where)
    elif problem.status > HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request_unavailable", code=problem.facts.get("code"), error=repr(error)[:500], **where)


def _of_ours(error: MunimentError) -> Problem:
    facts = error.facts()
    detail = facts.pop("message")
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        # RFC 6750, 3.1: a request without any credential gets a challenge without an error.
        why = "" if error.code == "token_missing" else ', error="invalid_token"'
        headers["www-authenticate"] = f'Bearer realm="muniment"{why}'
    elif isinstance(error, Forbidden):
        headers["www-authenticate"] = 'Bearer realm="muniment", error="insufficient_scope"'
    elif isinstance(error, Transient):
        headers["retry-after"] = str(RETRY_AFTER_S if error.retry_after is None else error.retry_after)
    return Problem(error.http_status, detail, facts, headers)


def _of_http(error: HTTPException) -> Problem:
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    match error.status_code:
        case 404:
            facts = {"code": "route_unknown", "hint": "/openapi.json lists the routes"}
            return Problem(404, "nothing answers at this path", facts, headers)
        case 405:
            facts = {"code": "method_not_allowed", "expected": headers.get("allow", "another method")}
            return Problem(405, "this path does not take this method", facts, headers)
        case status:
            return Problem(status, str(error.detail)[:500], {"code": "http_error"}, headers)


def _of_validation(error: RequestValidationError) -> Problem:
    errors = cast("list[dict[str, Any]]", error.errors())
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    expected, actual = expectation(first)
    facts = {"code": "schema_invalid", **({"expected": expected} if expected else {}), "actual": actual}
    return Problem(422, f"{place}: {first['msg']}{more}", facts)


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
