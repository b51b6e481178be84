"""Dead letters over HTTP: every service offers its own under `/api/v1/dead-letters/{service}`."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends, Request

from muniment.contracts.errors import Conflict, NotFound, Rejected
from muniment.contracts.events import Change
from muniment.contracts.identity import Principal
from muniment.contracts.model import rfc3339
from muniment.contracts.topics import retry_topic
from muniment.runtime.delivery.header_text import pack_headers, unpack_headers
from muniment.runtime.delivery.incoming import Place
from muniment.runtime.delivery.record import RETRY_PREFIX, RetryState
from muniment.runtime.delivery.transaction import SQL, OutboxRow, Transactions
from muniment.runtime.http.auth import role
from muniment.runtime.http.pages import Page, page_of
from muniment.runtime.http.requests import cause_of
from muniment.runtime.http.routes import Routes

Operator = Annotated[Principal, Depends(role("admin"))]
Paged = Annotated[Page, Depends(page_of)]
Json = dict[str, Any]


def dead_letter_router(transactions: Transactions) -> APIRouter:
    """The routes of one service."""
    service = transactions.service
    router = Routes(prefix=f"/dead-letters/{service}", tags=["dead letters"])
    word = service.replace("-", "_")

    @router.get("", name=f"list_dead_letters_{word}")
    async def list_dead_letters(_: Operator, page: Paged, retried: bool = False) -> Json:
        """Dead letters, newest first; with `retried` those that were sent again too."""
        at, last = page.after(datetime, UUID) or (None, None)
        rows = await transactions.pool.fetch(SQL["list_dead_letters"], at, last, retried, page.fetch)
        return page.answer(rows, item=_row, key=lambda row: (row["created_at"], row["id"]))

    @router.get("/{letter}", name=f"get_dead_letter_{word}")
    async def get_dead_letter(_: Operator, letter: UUID) -> Json:
        """One dead letter with its raw bytes (base64) and headers."""
        row = await _find(transactions, letter)
        value = bytes(row["value"])
        return {
            **_row(row),
            "value": base64.b64encode(value).decode(),
            "text": value.decode("utf-8", "replace")[:20_000],
            "truncated": len(value) < row["value_size"],
            "headers": [[name, raw.decode("utf-8", "replace")] for name, raw in unpack_headers(row["headers"])],
        }

    @router.post("/{letter}/retry", name=f"retry_dead_letter_{word}")
    async def retry_dead_letter(request: Request, by: Operator, letter: UUID) -> Json:
        """Give the record to the service again, as it was, with its tries counted from the beginning."""
        row = await _find(transactions, letter)
        if len(row["value"]) < row["value_size"]:
            raise Rejected(
                "dead_letter_truncated",
                "the record was too large to be kept whole",
                expected=f"{row['value_size']} B",
                actual=f"{len(row['value'])} B",
                hint=f"read it from {row['topic']} partition {row['partition']} offset {row['offset']}",
            )
        async with transactions.begin() as tx:
            if await tx.connection.fetchval(SQL["mark_retried"], letter, by.operator) is None:
                raise Conflict("dead_letter_retried", "the dead letter was sent again before", actual=str(letter))
            headers = [(name, raw) for name, raw in unpack_headers(row["headers"]) if not name.startswith(RETRY_PREFIX)]
            state = RetryState(Place(row["topic"], row["partition"], row["offset"]), 0, 0)
            tx.outbox.append(
                OutboxRow(
                    id=str(letter),
                    aggregatetype=retry_topic(service, "5s").wire_name(transactions.topic_prefix),
                    aggregateid=bytes(row["record_key"] or b"").decode("utf-8", "replace"),
                    type="dead-letter.retry",
                    payload=bytes(row["value"]),
                    headers=pack_headers((*headers, *state.headers())),
                )
            )
            tx.audit(
                action="dead-letter.retried",
                resource=f"dead-letters/{service}/{letter}",
                operator=by.operator,
                authenticated_by=by.authenticated_by,
                cause=cause_of(request),
                changes=[Change(path="retried_by", after=by.operator)],
            )
        return _row(await _find(transactions, letter))

    return router


async def _find(transactions: Transactions, letter: UUID) -> asyncpg.Record:
    row: asyncpg.Record | None = await transactions.pool.fetchrow(SQL["get_dead_letter"], letter)
    if row is None:
        raise NotFound(
            "dead_letter_not_found", "there is no such dead letter", actual=str(letter), hint="muniment dlq ls"
        )
    return row


def _row(row: asyncpg.Record) -> Json:
    key = row["record_key"]
    return {
        "id": str(row["id"]),
        "topic": row["topic"],
        "partition": row["partition"],
        "offset": row["offset"],
        "key": bytes(key).decode("utf-8", "replace") if key is not None else None,
        "code": row["code"],
        "reason": row["reason"],
        "value_sha256": row["value_sha256"],
        "value_size": row["value_size"],
        "attempts": row["attempts"],
        "created_at": rfc3339(row["created_at"]),
        "retried_at": rfc3339(row["retried_at"]) if row["retried_at"] else None,
        "retried_by": row["retried_by"],
    }
