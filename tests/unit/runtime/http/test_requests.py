"""Request ids, bodies and idempotency keys from strangers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, Request

from muniment.contracts.errors import Rejected
from muniment.contracts.identity import Principal
from muniment.contracts.model import Payload
from muniment.runtime.http import requests
from muniment.runtime.http.auth import role
from muniment.runtime.http.requests import body, cause_of, idempotency_key, read_body, request_id_from
from muniment.runtime.http.routes import Routes

from .conftest import Serve, bearer

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


class Note(Payload):
    text: str


def notes() -> APIRouter:
    router = Routes()

    @router.post("/notes")
    async def add_note(
        request: Request,
        _: Annotated[Principal, Depends(role("writer"))],
        note: Annotated[Note, Depends(body(Note, max_bytes=64))],
    ) -> dict[str, Any]:
        return {"text": note.text, "key": await idempotency_key(request), "cause": cause_of(request).id}

    return router


async def post(serve: Serve, content: Any, **headers: str) -> Any:
    async with serve(notes()) as client:
        return await client.post("/api/v1/notes", content=content, headers={**bearer("writer"), **headers})


@pytest.mark.parametrize("given", ["a", "A-b_c.9", "x" * 64])
async def test_a_request_id_that_fits_is_taken_and_given_back(serve: Serve, given: str) -> None:
    answer = await post(serve, b'{"text": "a"}', **{"x-request-id": given})
    assert answer.headers["x-request-id"] == given
    assert answer.json()["cause"].startswith(given + ".")


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "né", "<script>", "a;b", "mnt_/x"])
def test_another_request_id_is_replaced(given: str) -> None:
    assert UUID4.fullmatch(request_id_from([(b"x-request-id", given.encode())]))


def test_without_a_request_id_each_request_gets_one() -> None:
    first, second = request_id_from([]), request_id_from([(b"host", b"x")])
    assert UUID4.fullmatch(first)
    assert first != second


async def test_a_repeated_request_id_makes_no_repeated_cause(serve: Serve) -> None:
    causes = [(await post(serve, b'{"text": "a"}', **{"x-request-id": "same"})).json()["cause"] for _ in range(3)]
    assert len(set(causes)) == 3


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 422, "json_empty"),
        (b"{", 422, "json_malformed"),
        (b'{"text": "a", "text": "b"}', 422, "json_duplicate_name"),
        (b'{"text": NaN}', 422, "json_not_finite"),
        (b'\xef\xbb\xbf{"text": "a"}', 422, "json_encoding"),
        (b'{"text": "\\u0000"}', 422, "json_forbidden_character"),
        (b"[]", 422, "schema_invalid"),
        (b'{"text": 1}', 422, "schema_invalid"),
        (b'{"text": "a", "more": 1}', 422, "schema_invalid"),
        (b'{"text": "' + b"a" * 64 + b'"}', 413, "json_too_large"),
    ],
)
async def test_a_body_that_does_not_fit_is_refused_with_its_reason(
    serve: Serve, content: bytes, status: int, code: str
) -> None:
    answer = await post(serve, content)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_body_in_pieces_is_read_up_to_the_limit_and_no_further(serve: Serve) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'{"text": "'
        while True:
            sent += 1
            yield b"a" * 10

    async def small() -> AsyncIterator[bytes]:
        for piece in (b'{"te', b'xt": ', b'"whole"}'):
            yield piece

    # The transport of the tests gathers a body before it sends it, so the endless one is fed to the reader itself.
    stream = endless()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(stream), "more_body": True}

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    with pytest.raises(Rejected) as caught:
        await read_body(request, 64)
    assert caught.value.code == "json_too_large"
    assert sent <= 7
    assert (await post(serve, small())).json()["text"] == "whole"


async def test_a_body_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "BODY_TIMEOUT_S", 0.01)

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(Rejected) as caught:
        await read_body(Request({"type": "http", "method": "POST", "headers": []}, receive), 64)
    assert caught.value.code == "body_too_slow"


async def test_a_caller_that_goes_away_is_no_fault_of_ours() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(Rejected) as caught:
        await read_body(Request({"type": "http", "method": "POST", "headers": []}, receive), 64)
    assert caught.value.code == "body_cut_off"


async def test_a_strangers_body_is_not_looked_at(serve: Serve) -> None:
    async with serve(notes()) as client:
        answer = await client.post("/api/v1/notes", content=b"{", headers={})
    assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")


@pytest.mark.parametrize("given", ["a", "~", "with space", "x" * 255])
async def test_an_idempotency_key_is_taken_as_it_is(serve: Serve, given: str) -> None:
    assert (await post(serve, b'{"text": "a"}', **{"idempotency-key": given})).json()["key"] == given


@pytest.mark.parametrize("given", [[b""], [b"x" * 256], [b"tab\there"], [b"\x7f"], ["né".encode()], [b"a", b"b"]])
async def test_another_idempotency_key_is_refused(given: list[bytes]) -> None:
    request = Request({"type": "http", "headers": [(b"idempotency-key", value) for value in given]})
    with pytest.raises(Rejected) as caught:
        await idempotency_key(request)
    assert caught.value.code == "idempotency_key_invalid"


async def test_no_idempotency_key_is_none() -> None:
    assert await idempotency_key(Request({"type": "http", "headers": []})) is None
