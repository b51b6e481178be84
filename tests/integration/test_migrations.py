"""Migrations: from nothing and again, from several places at once, and never over a newer schema."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from muniment.adapters.postgres import migrate, open_pool
from muniment.contracts.errors import Misconfigured, Transient
from muniment.server.wiring import chosen, schemas

ALL = schemas(chosen(()))


async def test_every_schema_from_nothing_and_again(postgres_dsn: str) -> None:
    first = await migrate(postgres_dsn, ALL)
    assert all(first.values())
    again = await migrate(postgres_dsn, ALL)
    assert not any(again.values())


async def test_several_processes_at_once(postgres_dsn: str) -> None:
    await asyncio.gather(*(migrate(postgres_dsn, ALL) for _ in range(3)))
    assert not any((await migrate(postgres_dsn, ALL)).values())


async def test_a_newer_schema_is_left_alone(postgres_dsn: str) -> None:
    await migrate(postgres_dsn, ALL)
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("INSERT INTO registry.schema_migrations (version) VALUES ('9999')")
    await connection.close()
    with pytest.raises(Misconfigured) as caught:
        await migrate(postgres_dsn, ALL)
    assert caught.value.code == "schema_too_new"


async def test_a_database_that_is_away_is_transient() -> None:
    with pytest.raises(Transient) as caught:
        await migrate("postgresql://nobody@127.0.0.1:1/none", ALL)
    assert caught.value.code == "database_unavailable"


@pytest.mark.parametrize("schema", [schema.name for schema in ALL[1:]])
async def test_a_service_can_neither_alter_its_tables_nor_see_another_s(postgres_dsn: str, schema: str) -> None:
    await migrate(postgres_dsn, ALL)
    pool = await open_pool(postgres_dsn, schema, max_size=2)
    try:
        assert await pool.fetchval("SELECT count(*) FROM inbox") == 0
        other = next(s.name for s in ALL[1:] if s.name != schema)
        for statement in ("DROP TABLE inbox", "ALTER TABLE outbox ADD x integer", f"SELECT * FROM {other}.inbox"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.execute(statement)
    finally:
        await pool.close()


async def test_a_committed_version_refuses_to_change_even_for_the_superuser(postgres_dsn: str) -> None:
    await migrate(postgres_dsn, ALL)
    connection = await asyncpg.connect(postgres_dsn)
    try:
        await connection.execute(
            """
            INSERT INTO registry.track VALUES ('production', 'COMPLIANCE', 60);
            INSERT INTO registry.model (name_key, name, created_at, created_by) VALUES ('m', 'm', now(), 'x');
            INSERT INTO registry.version VALUES (1, 1, 'sha256:a', gen_random_uuid(), 'main', NULL, 'candidate', 'production',
                'x', 'token', now(), 'm', 'b', 'k', 'v', now(), 1, 1);
            """
        )
        for statement in (
            "UPDATE registry.version SET id = 'sha256:b'",
            "UPDATE registry.version SET manifest = 'other'",
            "UPDATE registry.version SET number = 2",
            "DELETE FROM registry.version",
            "TRUNCATE registry.version CASCADE",
        ):
            with pytest.raises(asyncpg.RestrictViolationError):
                await connection.execute(statement)
        await connection.execute("UPDATE registry.version SET description = 'may be mended'")
    finally:
        await connection.close()
