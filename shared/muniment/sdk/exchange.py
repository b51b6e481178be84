"""Requests and answers without I/O: each operation is a generator that yields what it wants done.

A `Call` yields a `Request` (and is sent its `Answer`, or is thrown `Unanswered`), a `Pause`, or `Work` for threads (and
is sent its result, or is thrown its error); the call's return value is the operation's result. `Client` and
`AsyncClient` drive the same calls, so retries, errors and paging are written once.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlencode

from muniment.contracts.errors import MunimentError, Transient
from muniment.sdk.problems import problem_of, unanswered
from muniment.sdk.transfer.pool import Stop, pauses

T = TypeVar("T")

LONGEST_PAUSE_S: Final = 60
"""A `Retry-After` above this is not waited for."""
PATIENCE_S: Final = 120.0
"""All pauses of one request together, at most."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request to a service. `target` is the path and query, from the root."""

    service: str
    method: str
    target: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float = 0.0
    """Seconds that the server may hold the answer back on purpose (long poll)."""
    safe: bool = False
    """A POST that does nothing when it was done before."""

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice does the same as once: by its method, its idempotency key, or its nature."""
        return self.safe or self.method in {"GET", "PUT", "DELETE"} or "Idempotency-Key" in self.headers


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, with lower-case header names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is to be done for that many seconds."""

    seconds: float


class Unanswered(Exception):
    """No answer came. `sent` says whether the request may have reached the server, so that its outcome is unknown."""

    def __init__(self, reason: str, *, sent: bool, url: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.url = url


@dataclass(frozen=True, slots=True)
class Work:
    """Something that blocks: hashing, moving bytes. It is handed a `Stop` and looks at it often."""

    run: Callable[[Stop], Any]


Effect = Request | Pause | Work
Call = Generator[Effect, Any, T]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an effect: its value, or its error."""

    value: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """A call came to its end."""

    value: T


def advance(call: Call[T], outcome: Outcome) -> Effect | Done[T]:
    """Tell a call what came of its last effect (`Outcome()` starts it); its next effect, or its end."""
    try:
        if outcome.error is not None:
            return call.throw(outcome.error)
        return call.send(outcome.value)
    except StopIteration as end:
        return Done(end.value)


def ask(request: Request) -> Call[Answer]:
    """The answer to a request, after retries where they are safe: six tries, `PATIENCE_S` of pauses at most.

    Raises the `MunimentError` the server answered with; `Transient` `server_unreachable` or `outcome_unknown` when
    there was no answer.
    """
    waits = pauses()
    paused = 0.0
    while True:
        error: MunimentError
        try:
            answer: Answer = yield request
        except Unanswered as lost:
            error = unanswered(lost.url, lost.reason, outcome_unknown=lost.sent and not request.repeatable)
            error.__cause__ = lost
            again, asked_pause = request.repeatable or not lost.sent, 0.0
        else:
            if answer.status < 400:
                return answer
            error = problem_of(answer.status, answer.headers.get("content-type", ""), answer.body)
            again, asked_pause = request.repeatable and isinstance(error, Transient), _retry_after(answer)
        pause = next(waits, None)
        if not again or pause is None or asked_pause > LONGEST_PAUSE_S:
            raise error
        # Never sooner than asked, and not all at once: many were told the same number.
        pause = max(pause, asked_pause * random.uniform(1.0, 1.25))  # noqa: S311  # reason: jitter is no secret
        paused += pause
        if paused > PATIENCE_S:
            raise error
        yield Pause(pause)


def request(
    service: str,
    method: str,
    path: str,
    *,
    query: Mapping[str, object] | None = None,
    body: object = None,
    key: str | None = None,
    wait: float = 0.0,
    safe: bool = False,
) -> Request:
    """A request below `/api/v1` with a JSON body. Query values that are None are left out."""
    asked = {name: _word(value) for name, value in (query or {}).items() if value is not None}
    headers = {}
    raw = None
    if body is not None:
        raw = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        headers["Content-Type"] = "application/json"
    if key is not None:
        headers["Idempotency-Key"] = key
    target = f"/api/v1{path}" + (f"?{urlencode(asked)}" if asked else "")
    return Request(service, method, target, raw, headers, wait, safe)


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def ask_json(wanted: Request) -> Call[Any]:
    """The JSON value that answers a request (None for an empty answer)."""
    answer = yield from ask(wanted)
    if not answer.body:
        return None
    try:
        return json.loads(answer.body)
    except ValueError as error:
        raise MunimentError(
            "answer_unexpected",
            "the server's answer is not JSON",
            expected="a JSON text",
            actual=f"{answer.headers.get('content-type', 'no content type')}, {len(answer.body)} B",
            hint="is the URL that of a Muniment server?",
        ) from error


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, and the token of the next one."""

    items: list[Any]
    next_page_token: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """A list that comes in pages."""

    service: str
    path: str
    query: Mapping[str, object] = field(default_factory=dict)

    def page(self, token: str | None, limit: int | None = None) -> Call[Page]:
        """The page that `token` names; None is the first."""
        query = {**self.query, "limit": limit, "page_token": token}
        value = yield from ask_json(request(self.service, "GET", self.path, query=query))
        return Page(list(value["items"]), value.get("next_page_token"))


def _retry_after(answer: Answer) -> float:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdecimal() and len(text) < 6 else 0.0
