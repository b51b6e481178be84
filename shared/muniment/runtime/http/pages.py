"""Keyset pages: `?limit=&page_token=` in, `{"items": [...], "next_page_token": ...}` out.

A page starts after the last row's key of the page before, so pages stay right and equally fast while rows come and go.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from fastapi import Query
from starlette.requests import Request

from muniment.contracts import strict_json
from muniment.contracts.errors import Rejected

MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 100
MAX_TOKEN: Final = 2048

Key = str | int | datetime | UUID
Row = TypeVar("Row")
_PAGING: Final = {"limit", "page_token"}


class PageTokenInvalid(Rejected):
    """The page token was not made here, or for another list."""

    http_status = 400

    def __init__(self) -> None:
        super().__init__(
            "page_token_invalid",
            "the page token does not belong to this list",
            expected="the next_page_token of the page before, with the same path and filters",
            hint="start again without page_token",
        )


@dataclass(frozen=True, slots=True)
class Page:
    """One page that was asked for. `list_of` names the list (path and filters): a token serves no other."""

    limit: int
    list_of: str
    keys: tuple[str | int, ...] = ()

    @property
    def fetch(self) -> int:
        """How many rows to fetch: one more than the page holds tells whether there is another."""
        return self.limit + 1

    def after(self, *kinds: type[Key]) -> tuple[Any, ...] | None:
        """The key after which the page starts, each part of its kind; None for the first page.

        Raises `PageTokenInvalid` (`page_token_invalid`) where the token's key is of another shape.
        """
        if not self.keys:
            return None
        if len(kinds) != len(self.keys):
            raise PageTokenInvalid
        return tuple(_part(kind, key) for kind, key in zip(kinds, self.keys, strict=True))

    def answer(
        self, rows: Sequence[Row], *, item: Callable[[Row], Any], key: Callable[[Row], tuple[Key, ...]]
    ) -> dict[str, Any]:
        """The answer: at most `limit` items made of the rows (up to `fetch` of them), and the token for more."""
        shown = rows[: self.limit]
        token = page_token(self.list_of, key(shown[-1])) if len(rows) > self.limit else None
        return {"items": [item(row) for row in shown], "next_page_token": token}


async def page_of(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="items at most")] = DEFAULT_LIMIT,
    page_token: Annotated[str | None, Query(max_length=MAX_TOKEN, description="from the page before")] = None,
) -> Page:
    """The dependency: `Annotated[Page, Depends(page_of)]`. Raises `PageTokenInvalid` (`page_token_invalid`)."""
    list_of: str = request.scope["path"]
    if filters := sorted(pair for pair in request.query_params.multi_items() if pair[0] not in _PAGING):
        list_of += json.dumps(filters)
    return Page(limit, list_of, () if page_token is None else _keys(list_of, page_token))


def page_token(list_of: str, key: tuple[Key, ...]) -> str:
    """An opaque token for the page after `key`."""
    parts = [_text(part) for part in key]
    return _pack([_check(list_of, parts), *parts])


def _keys(list_of: str, token: str) -> tuple[str | int, ...]:
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        check, *parts = strict_json.loads(raw, max_bytes=MAX_TOKEN, max_depth=1)
    except (Rejected, ValueError, TypeError, binascii.Error, UnicodeEncodeError) as error:
        raise PageTokenInvalid from error
    if not parts or any(type(part) not in {str, int} for part in parts) or check != _check(list_of, parts):
        raise PageTokenInvalid
    return tuple(parts)


def _check(list_of: str, parts: list[str | int]) -> str:
    # No secret: a token opens nothing that its bearer may not read. It only keeps lists and their tokens together.
    return hashlib.sha256(json.dumps([list_of, parts]).encode()).hexdigest()[:16]


def _pack(members: list[str | int]) -> str:
    text = json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _text(part: Key) -> str | int:
    if isinstance(part, datetime):
        return part.isoformat()
    return str(part) if isinstance(part, UUID) else part


def _part(kind: type[Key], key: str | int) -> Key:
    if kind is int or kind is str:
        if type(key) is kind:
            return key
    elif isinstance(key, str):
        try:
            moment = datetime.fromisoformat(key) if kind is datetime else UUID(key)
        except ValueError as error:
            raise PageTokenInvalid from error
        if isinstance(moment, UUID) or moment.tzinfo is not None:
            return moment
    raise PageTokenInvalid
