"""Retries, errors and pages, driven by hand: no client, no network."""

from __future__ import annotations

import json
from typing import Any

import pytest

from muniment.contracts.errors import (
    Conflict,
    Forbidden,
    Gone,
    MunimentError,
    NotFound,
    PreconditionFailed,
    Rejected,
    TooLarge,
    Transient,
    Unauthenticated,
)
from muniment.sdk.exchange import (
    Answer,
    Call,
    Done,
    Listing,
    Outcome,
    Pause,
    Request,
    Unanswered,
    advance,
    ask,
    ask_json,
    request,
)
from muniment.sdk.problems import problem_of

OK = Answer(200, {"content-type": "application/json"}, b'{"fine": true}')
GET = request("registry", "GET", "/models")
POST = request("ingest", "POST", "/publications", body={"a": 1})
KEYED = request("ingest", "POST", "/publications", body={"a": 1}, key="k-1")


def drive(call: Call[Any], *answers: Answer | Exception) -> tuple[Any, list[Request], list[float]]:
    """The call's result, what it asked, and how long it paused; each request gets the next answer."""
    coming = list(answers)
    asked: list[Request] = []
    paused: list[float] = []
    outcome = Outcome()
    while True:
        effect = advance(call, outcome)
        if isinstance(effect, Done):
            assert coming == [], "not everything was asked for"
            return effect.value, asked, paused
        if isinstance(effect, Pause):
            paused.append(effect.seconds)
            outcome = Outcome()
            continue
        assert isinstance(effect, Request)
        asked.append(effect)
        answer = coming.pop(0)
        outcome = Outcome(error=answer) if isinstance(answer, Exception) else Outcome(answer)


def problem(status: int, code: str, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    body = json.dumps({"title": "t", "status": status, "code": code, "detail": "what happened", **fields}).encode()
    return Answer(status, {"content-type": "application/problem+json", **(headers or {})}, body)


def lost(*, sent: bool) -> Unanswered:
    return Unanswered("connection reset", sent=sent, url="http://x.test")


@pytest.mark.parametrize("wanted", [GET, KEYED], ids=["get", "post with a key"])
def test_what_may_be_repeated_is(wanted: Request) -> None:
    answer, asked, paused = drive(ask(wanted), lost(sent=True), problem(503, "busy"), lost(sent=False), OK)
    assert answer is OK
    assert asked == [wanted] * 4, "the very same request, key included"
    assert len(paused) == 3


def test_a_post_without_a_key_is_not_repeated_once_it_was_sent() -> None:
    with pytest.raises(Transient) as caught:
        drive(ask(POST), lost(sent=True))
    assert caught.value.code == "outcome_unknown"
    with pytest.raises(Transient) as caught:
        drive(ask(POST), problem(503, "busy"))
    assert caught.value.code == "busy"


def test_a_post_that_never_left_is_repeated() -> None:
    answer, asked, _ = drive(ask(POST), lost(sent=False), OK)
    assert answer is OK
    assert len(asked) == 2


def test_tries_are_bounded_and_the_last_error_tells_where() -> None:
    with pytest.raises(Transient) as caught:
        drive(ask(GET), *[lost(sent=True)] * 6)
    assert caught.value.code == "server_unreachable"
    assert "http://x.test" in caught.value.message
    assert "connection reset" in str(caught.value.actual)


def test_retry_after_is_obeyed_up_to_a_minute() -> None:
    _, _, paused = drive(ask(GET), problem(429, "slow_down", {"retry-after": "7"}), OK)
    assert 7.0 <= paused[0] <= 8.75, "not sooner, and spread"
    with pytest.raises(Transient):
        drive(ask(GET), problem(503, "down", {"retry-after": "3600"}))


def test_all_pauses_together_are_bounded() -> None:
    with pytest.raises(Transient) as caught:
        drive(ask(GET), *[problem(503, "busy", {"retry-after": "50"})] * 3)
    assert caught.value.code == "busy"


def test_a_refusal_is_not_repeated() -> None:
    with pytest.raises(Conflict) as caught:
        drive(ask(GET), problem(409, "taken", expected="a", actual="b", hint="choose another", request_id="r-9"))
    error = caught.value
    assert (error.code, error.message, error.expected, error.actual, error.hint) == (
        "taken",
        "what happened",
        "a",
        "b",
        "choose another",
    )
    assert error.__notes__ == ["request r-9"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Rejected),
        (401, Unauthenticated),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (410, Gone),
        (412, PreconditionFailed),
        (413, TooLarge),
        (422, Rejected),
        (429, Transient),
        (500, MunimentError),
        (502, Transient),
        (503, Transient),
        (504, Transient),
    ],
)
def test_statuses_become_the_errors_they_were(status: int, kind: type[MunimentError]) -> None:
    assert type(problem_of(status, "application/problem+json", b'{"code": "c", "title": "t"}')) is kind


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("text/html", b"<h1>Bad gateway</h1>"), ("application/json", b"{"), ("application/json", b"[]"), ("", b"")],
)
def test_an_error_that_says_nothing_says_so(content_type: str, body: bytes) -> None:
    error = problem_of(502, content_type, body)
    assert error.code == "answer_unexpected"
    assert "HTTP 502" in error.message


def test_an_answer_that_is_no_json_is_told() -> None:
    with pytest.raises(MunimentError) as caught:
        drive(ask_json(GET), Answer(200, {"content-type": "text/html"}, b"<html>"))
    assert caught.value.code == "answer_unexpected"


def test_pages() -> None:
    page, asked, _ = drive(
        Listing("registry", "/models", {"branch": None, "q": "a b"}).page("next", 50),
        Answer(200, {}, b'{"items": [1, 2], "next_page_token": null}'),
    )
    assert (page.items, page.next_page_token) == ([1, 2], None)
    assert asked[0].target == "/api/v1/models?q=a+b&limit=50&page_token=next"


def test_a_body_is_never_nan() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        request("ingest", "POST", "/publications", body={"x": float("nan")})
