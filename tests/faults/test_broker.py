"""The broker takes connections and answers nothing: the way in works on, and what it took goes on afterwards."""

from __future__ import annotations

import signal

import asyncpg
import psutil

from tests.bench.stack import running

from .overload import ended, flood, landed, order

SEED = 1
STOPPED_S = 8.0


async def test_publications_are_taken_while_the_broker_is_a_black_hole_and_go_on_after_it() -> None:
    async with running() as stack:
        file = await landed(stack, SEED)
        (java,) = stack.parts["kafka"]
        java.send_signal(signal.SIGSTOP)
        try:
            assert java.status() == psutil.STATUS_STOPPED
            (told,) = await flood(stack, [order(stack, f"hole-{SEED}", file, STOPPED_S, 20.0)])
            waiting = await _waiting(stack.endpoints.postgres_dsn)
        finally:
            java.send_signal(signal.SIGCONT)
        seen = f"seed {SEED}: {told.answers}, {waiting} events waited"
        assert told.accepted, seen
        assert set(told.answers) <= {"200", "201", "202", "503"}, seen
        assert waiting >= len(told.accepted), f"the broker took them; {seen}"
        stages = await ended(stack, told.accepted, 90)
        assert stages == {"committed": len(told.accepted)}, seen
        assert stack.process.returncode is None, seen


async def _waiting(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM ingest.outbox WHERE sent_at IS NULL"))
    finally:
        await connection.close()
