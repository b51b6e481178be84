"""Locks that end together are extended batch by batch, and no batch reads more than its own rows."""

from __future__ import annotations

import json

import asyncpg

from muniment.adapters.postgres import migrate
from muniment.registry.store import SQL
from muniment.server.wiring import chosen, schemas

FILL = (
    "INSERT INTO model (name_key, name, created_at, created_by, last_number) VALUES ('m', 'm', now(), 'o', 20000)",
    "INSERT INTO track VALUES ('production', 'COMPLIANCE', 60) ON CONFLICT DO NOTHING",
    "INSERT INTO version SELECT 1, i, 'sha256:' || i, gen_random_uuid(), 'main', NULL, 'stable', 'production', 'o', 'none', "
    "now(), '', 'b', 'k', 'v', now() + interval '1 year', 1, 1 FROM generate_series(1, 20000) AS i",
    "INSERT INTO stored_object (bucket, key, version_id, sha256, size, lock_mode, locked_until) "
    "SELECT 'b', i::text, 'v', i::text, 1, 'COMPLIANCE', now() + interval '1 minute' FROM generate_series(1, 20000) AS i",
    "INSERT INTO version_file SELECT 1, i, 'f', i, 'unknown', 'weights' FROM generate_series(1, 20000) AS i",
    # a leftover that no version refers to ends first, and is in nobody's way
    "INSERT INTO stored_object (bucket, key, version_id, sha256, size, lock_mode, locked_until) "
    "VALUES ('b', 'leftover', 'v', 'x', 1, 'COMPLIANCE', now())",
)


async def test_a_batch_of_many_ending_locks_touches_its_own_rows(postgres_dsn: str) -> None:
    await migrate(postgres_dsn, schemas(chosen(())))
    connection = await asyncpg.connect(postgres_dsn, server_settings={"search_path": "registry"})
    try:
        for statement in FILL:
            await connection.execute(statement)
        await connection.execute("VACUUM ANALYZE")
        rows = await connection.fetch(
            SQL["locks_ending"].replace("$1", "now() + interval '1 day'").replace("$2", "200")
        )
        keys = [row["key"] for row in rows]
        assert (len(keys), "leftover" in keys) == (200, False)
        sql = SQL["locks_ending"].replace("$1", "now() + interval '1 day'").replace("$2", "200")
        plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}"))[0]["Plan"]
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 4_000  # twenty thousand rows are far more
    finally:
        await connection.close()
