"""Rows 12, 13 and 17: Postgres is killed, cut off in COMMIT, out of disk, or locked. Effects are exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from muniment.testing.tcp_proxy import Fault

from .conftest import EVERYTHING, Outage

AWAY_S = 30.0 if EVERYTHING else 2.0
SERVICES = ("ingest", "checksum_validator", "registry", "audit", "notifier")
_COMMIT = b"COMMIT;\0"
_HALF_A_COMMIT = b"Q\0\0\0\x0cCOM"
CUT = {"after": _COMMIT, "before": _HALF_A_COMMIT}
"""Where the connection breaks: the server has the whole statement and commits, or half of it and rolls back."""
REFUSALS = {"53100": "could not extend file: No space left on device", "53300": "sorry, too many clients already"}


async def test_killed_under_load_it_comes_back_and_nothing_is_missing(healed: Outage) -> None:
    pids = healed.pids()
    async with healed.fleet.loading() as load:
        await load.taken(5)
        await healed.parts.kill("postgres")
        try:
            told = await healed.flood(AWAY_S)
        finally:
            await healed.parts.start("postgres")
    assert told.answers["503"] > 0, healed.fleet.why(f"it was not away: {told.answers}")
    assert told.bounded, healed.fleet.why(f"{told.answers}")
    await healed.recovered(pids)


@pytest.mark.parametrize("moment", CUT if EVERYTHING else ["after"])
async def test_a_connection_lost_in_commit_leaves_one_effect(healed: Outage, moment: str) -> None:
    pids, database = healed.pids(), healed.fleet.cluster.database
    times = 12
    database.requests = Fault(reset_after=0, marker=CUT[moment], times=times)
    await healed.load(20)
    await healed.recovered(pids)
    assert database.fired["reset"] == times, healed.fleet.why(f"{database.fired}")


@pytest.mark.parametrize("state", REFUSALS if EVERYTHING else ["53100"])
async def test_a_database_without_room_holds_work_back_and_recovers(healed: Outage, state: str) -> None:
    pids = healed.pids()
    async with healed.fleet.loading(), _refusing(healed.fleet.cluster.dsn, state) as refused:
        told = await healed.flood(AWAY_S)
        fired = await refused()
    seen = healed.fleet.why(f"{told.answers}, refused {fired}")
    assert fired["ingest"] > 0, seen
    assert told.answers["503"] > 0, seen
    assert told.bounded, seen
    await healed.recovered(pids)


@pytest.mark.skipif(not EVERYTHING, reason="`make faults` runs it")
async def test_a_locked_table_holds_work_back_and_recovers(healed: Outage) -> None:
    pids = healed.pids()
    connection = await asyncpg.connect(healed.fleet.cluster.dsn)
    try:
        async with healed.fleet.loading(), connection.transaction():
            await connection.execute("LOCK TABLE registry.version, ingest.publication IN ACCESS EXCLUSIVE MODE")
            async with asyncio.timeout(60):
                while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                    await asyncio.sleep(0.05)
    finally:
        await connection.close()
    await healed.recovered(pids)


@asynccontextmanager
async def _refusing(dsn: str, state: str) -> AsyncIterator[Any]:
    """Each service's inbox and outbox refuse rows as a full disk does. Yields who refused how often: sequences, which
    count although the transaction is rolled back."""
    connection = await asyncpg.connect(dsn)
    try:
        for schema in SERVICES:
            await connection.execute(f"CREATE SEQUENCE public.refused_{schema}")
            await connection.execute(
                f"CREATE FUNCTION public.refuse_{schema}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN "
                f"PERFORM nextval('public.refused_{schema}'); "
                f"RAISE EXCEPTION '{REFUSALS[state]}' USING ERRCODE = '{state}'; END $$"
            )
            for table in ("inbox", "outbox"):
                await connection.execute(
                    f"CREATE TRIGGER full_disk BEFORE INSERT ON {schema}.{table} "
                    f"FOR EACH ROW EXECUTE FUNCTION public.refuse_{schema}()"
                )

        async def refused() -> dict[str, int]:
            return {
                schema: await connection.fetchval(
                    f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM public.refused_{schema}"
                )
                for schema in SERVICES
            }

        yield refused
    finally:
        for schema in SERVICES:
            await connection.execute(f"DROP FUNCTION IF EXISTS public.refuse_{schema} CASCADE")
            await connection.execute(f"DROP SEQUENCE IF EXISTS public.refused_{schema}")
        await connection.close()
