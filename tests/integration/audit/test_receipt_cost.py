"""A receipt is asked for often, of a log that grows for ever: what it asks the database for is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from muniment.audit.published import PublishedLog

from .test_publishing import Bench, bench, until_done

__all__ = ["bench"]
LINES = ["— w.example.com/1 AAAA\n", "— w.example.com/2 BBBB\n"]


class OneConnection:
    """A pool of one connection, whose driver tells every statement that it sends."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.fetch, self.fetchval, self.fetchrow = connection.fetch, connection.fetchval, connection.fetchrow

    @asynccontextmanager
    async def acquire(self, *, timeout: float) -> AsyncIterator[Any]:
        yield self._connection


@pytest.mark.parametrize("cosigned", [False, True])
async def test_a_receipt_takes_two_statements_with_its_cosignatures(bench: Bench, cosigned: bool) -> None:
    await bench.append(600)
    await until_done(bench.publisher())
    if cosigned:
        for number, line in enumerate(LINES):
            await bench.writer.pool.execute("INSERT INTO cosignature VALUES (600, $1, $2)", f"w{number}", line)
    sent: list[str] = []

    def tell(record: asyncpg.connection.LoggedQuery) -> None:
        sent.append(record.query)

    async with bench.writer.pool.acquire() as connection:
        log = PublishedLog(OneConnection(connection))  # type: ignore[arg-type]  # reason: as much of a pool as it uses
        with connection.query_logger(tell):
            made = await log.receipt(300)
        await asyncio.sleep(0)  # the driver tells them in the loop's next turn
        assert len(sent) == 2, sent
        with connection.query_logger(tell):
            shown = await log.checkpoint()
    await asyncio.sleep(0)
    assert len(sent) == 3, sent
    assert made.endswith(shown.note)
    assert shown.note.endswith("".join(LINES)) is cosigned
