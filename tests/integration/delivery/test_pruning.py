"""Old inbox and sent outbox rows go, however many there are; what is young or unsent stays."""

from __future__ import annotations

import json
from typing import Any

import pytest

from muniment.runtime.delivery import relay

from .conftest import Toy, eventually

OUTBOX = (
    "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, headers, sent_at) "
    "SELECT gen_random_uuid(), 't', 'k', 't', '', '[]', now() - make_interval(days => $2) FROM generate_series(1, $1)"
)
INBOX = (
    "INSERT INTO inbox (key, digest, received_at) "
    "SELECT gen_random_uuid(), '', now() - make_interval(days => $2) FROM generate_series(1, $1)"
)


async def counts(toy: Toy) -> tuple[int, int]:
    outbox = await toy.pool.fetchval("SELECT count(*) FROM outbox WHERE sent_at IS NOT NULL")
    return outbox, await toy.pool.fetchval("SELECT count(*) FROM inbox")


async def test_more_old_rows_than_one_batch_go_without_waiting_for_the_next_round(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_PRUNE_ROWS", 10)
    monkeypatch.setattr(relay, "_IDLE_S", 0.01)
    for statement in (OUTBOX, INBOX):
        await toy.pool.execute(statement, 95, 40)
        await toy.pool.execute(statement, 5, 1)

    async def young_alone() -> bool:
        return await counts(toy) == (5, 5)

    async with toy.running():
        await eventually(young_alone)


async def test_finding_nothing_to_prune_reads_next_to_nothing(toy: Toy) -> None:
    for statement in (OUTBOX, INBOX):
        await toy.pool.execute(statement, 30_000, 1)
    async with toy.pool.acquire() as connection:
        await connection.execute("RESET ROLE")
        await connection.execute("VACUUM ANALYZE")
        for name in ("prune_outbox", "prune_inbox"):
            assert await pages_read(connection, name) < 100, name


async def pages_read(connection: Any, name: str) -> int:
    sql = relay.SQL[name].replace("$1", "now() - interval '31 days'").replace("$2", "500")
    plan = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}")
    top = json.loads(plan)[0]["Plan"]
    return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])
