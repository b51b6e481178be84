"""Pages: every row once, whatever the page size; tokens that nobody can bend into another question."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any
from uuid import UUID

import pytest
from fastapi import APIRouter, Depends
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.identity import Principal
from muniment.runtime.http.auth import role
from muniment.runtime.http.pages import MAX_TOKEN, Page, PageTokenInvalid, _keys, page_of, page_token
from muniment.runtime.http.routes import Routes

from .conftest import Serve, bearer

ROWS = list(range(1, 251))


def numbers() -> APIRouter:
    router = Routes()

    @router.get("/numbers")
    async def list_numbers(
        _: Annotated[Principal, Depends(role("reader"))],
        page: Annotated[Page, Depends(page_of)],
        above: int = 0,
    ) -> dict[str, Any]:
        (after,) = page.after(int) or (0,)
        rows = [row for row in ROWS if row > max(above, after)][: page.fetch]
        return page.answer(rows, item=lambda row: {"n": row}, key=lambda row: (row,))

    @router.get("/words")
    async def list_words(
        _: Annotated[Principal, Depends(role("reader"))], page: Annotated[Page, Depends(page_of)]
    ) -> dict[str, Any]:
        page.after(str, UUID)
        return page.answer([], item=str, key=lambda row: (row,))

    return router


@pytest.mark.parametrize("limit", [1, 7, 125, 249, 250, 1000])
async def test_walking_the_pages_gives_every_row_once_in_order(serve: Serve, limit: int) -> None:
    seen: list[int] = []
    token: str | None = None
    async with serve(numbers()) as client:
        for _ in range(len(ROWS) + 1):
            params = {"limit": limit} | ({"page_token": token} if token else {})
            answer = (await client.get("/api/v1/numbers", params=params, headers=bearer("reader"))).json()
            assert len(answer["items"]) <= limit
            seen += [item["n"] for item in answer["items"]]
            if (token := answer["next_page_token"]) is None:
                break
    assert token is None
    assert seen == ROWS


async def test_a_page_has_100_items_unless_told(serve: Serve) -> None:
    async with serve(numbers()) as client:
        answer = await client.get("/api/v1/numbers", headers=bearer("reader"))
    assert len(answer.json()["items"]) == 100


@pytest.mark.parametrize("limit", ["1000000000", "1001", "0", "-1", "9" * 400, "1e3", "ten", ""])
async def test_a_page_size_out_of_bounds_is_refused(serve: Serve, limit: str) -> None:
    async with serve(numbers()) as client:
        answer = await client.get("/api/v1/numbers", params={"limit": limit}, headers=bearer("reader"))
    assert (answer.status_code, answer.json()["code"]) == (422, "schema_invalid")


def packed(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "....",
        "%%%",
        "né",
        "\x00",
        "' OR 1=1 --",
        packed({}),
        packed([]),
        packed([None]),
        packed("text"),
        packed(7),
        packed(["0" * 16, 5]),
        packed([1, 2, 3]),
        packed([["deep"], 1]),
        base64.urlsafe_b64encode(b"[1,").decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        base64.urlsafe_b64encode(b"[" * 900).decode(),
        page_token("/api/v1/others", (5,)),
        page_token("/api/v1/numbers", ("5",)),
        page_token("/api/v1/numbers", (5, 6)),
        page_token("/api/v1/numbers", (2**53,)),
        page_token("/api/v1/numbers", (True,)),
    ],
)
async def test_a_token_that_is_not_this_lists_is_refused(serve: Serve, token: str) -> None:
    async with serve(numbers()) as client:
        answer = await client.get("/api/v1/numbers", params={"page_token": token}, headers=bearer("reader"))
    assert (answer.status_code, answer.json()["code"]) == (400, "page_token_invalid")


async def test_an_overlong_token_is_refused_before_it_is_read(serve: Serve) -> None:
    async with serve(numbers()) as client:
        params = {"page_token": "A" * (MAX_TOKEN + 1)}
        answer = await client.get("/api/v1/numbers", params=params, headers=bearer("reader"))
    assert (answer.status_code, answer.json()["code"]) == (422, "schema_invalid")


async def test_a_token_serves_only_the_filters_it_was_made_with(serve: Serve) -> None:
    async with serve(numbers()) as client:
        first = await client.get("/api/v1/numbers?above=10&limit=5", headers=bearer("reader"))
        token = first.json()["next_page_token"]
        same = await client.get(f"/api/v1/numbers?limit=9&above=10&page_token={token}", headers=bearer("reader"))
        other = await client.get(f"/api/v1/numbers?above=11&page_token={token}", headers=bearer("reader"))
    assert same.json()["items"][0] == {"n": 16}
    assert (other.status_code, other.json()["code"]) == (400, "page_token_invalid")


@given(st.data())
def test_changing_any_character_of_a_token_is_noticed(data: st.DataObject) -> None:
    token = page_token("/list", (data.draw(st.text(max_size=20)), data.draw(st.integers(0, 2**53 - 1))))
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"))
    changed = token[:place] + letter + token[place + 1 :]
    try:
        keys = _keys("/list", changed)
    except PageTokenInvalid:
        return
    assert keys == _keys("/list", token)  # the last character may carry unused bits, and then means the same


KEYS = st.tuples(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=100),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])),
    st.uuids(),
)


@given(KEYS)
def test_a_key_comes_back_as_it_went(key: tuple[str, int, datetime, UUID]) -> None:
    page = Page(10, "/list", _keys("/list", page_token("/list", key)))
    assert page.after(str, int, datetime, UUID) == key


@given(st.text(max_size=200))
def test_no_text_is_anything_but_a_token_or_refused(text: str) -> None:
    with pytest.raises(PageTokenInvalid):
        _keys("/list", text)


@pytest.mark.parametrize(
    ("key", "kinds"),
    [
        (("2026-11-23T10:00:00",), (datetime,)),
        (("yesterday",), (datetime,)),
        ((7,), (datetime,)),
        (("not-a-uuid",), (UUID,)),
        (("7",), (int,)),
        ((7,), (str,)),
        ((7,), (int, int)),
    ],
)
def test_a_key_of_another_shape_is_refused(key: tuple[Any, ...], kinds: tuple[Any, ...]) -> None:
    with pytest.raises(PageTokenInvalid):
        Page(10, "/list", key).after(*kinds)
