"""Nobody changes the log: the service lacks the privileges, and triggers refuse everybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from muniment.adapters.postgres import connect

from .conftest import SCHEMA, Log, Session, incoming

CHANGES = [
    f"{verb.format(table)}"
    for table in ("entry", "tree_head")
    for verb in (
        "UPDATE {} SET log_time = now()",
        "UPDATE {} SET log_time = log_time WHERE false",
        "DELETE FROM {}",
        "DELETE FROM {} WHERE false",
        "TRUNCATE {} CASCADE",
        "MERGE INTO {} USING (SELECT 1) AS one ON true WHEN MATCHED THEN DELETE",
    )
]
UPSERT = """
INSERT INTO tree_head (size, previous, root, frontier, log_time, writer_epoch)
VALUES (0, NULL, sha256(''), '{}', now(), 0) ON CONFLICT (size) DO UPDATE SET log_time = now()
"""
CHANGES.append(UPSERT)


async def contents(connection: Session) -> list[object]:
    return [
        await connection.fetch("SELECT * FROM entry ORDER BY index"),
        await connection.fetch("SELECT * FROM tree_head ORDER BY size"),
    ]


@pytest.fixture(scope="module")
async def filled(shared_log: Log) -> Log:
    """Nothing below can change it, so all share it."""
    await (await shared_log.writer()).append(incoming("a"), incoming("b"))
    return shared_log


@pytest.fixture
async def superuser(filled: Log) -> AsyncIterator[Session]:
    async with filled.superuser() as session:
        assert await session.fetchval("SELECT usesuper FROM pg_user WHERE usename = current_user")
        yield session


@pytest.fixture
async def service(filled: Log) -> AsyncIterator[Session]:
    session = await connect(filled.dsn, "audit")
    try:
        assert await session.fetchval("SELECT current_user") == "muniment_audit"
        yield session
    finally:
        await session.close()


@pytest.mark.parametrize("replication_role", ["origin", "replica"])
@pytest.mark.parametrize("statement", CHANGES)
async def test_a_superuser_is_refused(superuser: Session, statement: str, replication_role: str) -> None:
    await superuser.execute(f"SET session_replication_role = {replication_role}")
    before = await contents(superuser)
    with pytest.raises(asyncpg.RestrictViolationError, match="the audit log is only ever added to"):
        await superuser.execute(statement)
    assert await contents(superuser) == before


@pytest.mark.parametrize(
    "statement",
    [
        *CHANGES,
        "DELETE FROM writer",
        "TRUNCATE writer",
        "INSERT INTO writer VALUES (true, 1, 'me', now())",
        "DROP TABLE entry",
        "ALTER TABLE entry DISABLE TRIGGER ALL",
        "DROP FUNCTION refuse_change() CASCADE",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "SET session_replication_role = replica",
    ],
)
async def test_the_service_lacks_the_privilege(service: Session, statement: str) -> None:
    before = await contents(service)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute(statement)
    assert await contents(service) == before


async def test_the_writer_row_stays_one(superuser: Session) -> None:
    for statement in ("DELETE FROM writer", "TRUNCATE writer"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await superuser.execute(statement)
    for row in ("(true, 9, 'me', now())", "(false, 9, 'me', now())"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await superuser.execute(f"INSERT INTO writer VALUES {row}")
    assert await superuser.fetchval("SELECT count(*) FROM writer") == 1


async def test_a_log_with_entries_is_not_migrated_away(superuser: Session) -> None:
    down = (SCHEMA.migrations[1] / "0100_audit.sql").read_text().split("-- migrate:down")[1]
    with pytest.raises(asyncpg.RaiseError, match="has entries"):
        await superuser.execute(down)
    assert await superuser.fetchval("SELECT count(*) FROM entry") == 2
