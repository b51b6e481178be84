"""One writer at a time: a rival waits, a dead one is replaced at once, a late one is refused."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from muniment.adapters.postgres import UNAVAILABLE
from muniment.contracts.errors import Transient

from .conftest import Log, Session, Writer, incoming

FOREVER = 3600.0

HOLD_AND_TELL = """
import asyncio, sys
from muniment.adapters.postgres import open_pool
from muniment.audit.lease import WriterLease

async def main() -> None:
    pool = await open_pool(sys.argv[1], "audit", max_size=2)
    lease = WriterLease(pool, term_s=3600, silence_s=float(sys.argv[2]))
    print(await lease.hold(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def entries(writer: Writer) -> list[str]:
    return [row["event_id"] for row in await writer.pool.fetch("SELECT event_id FROM entry ORDER BY index")]


async def until_one_waits(session: Session, for_what: str) -> None:
    """Wait until a session of this database stands in line for a lock of this kind (`pg_stat_activity.wait_event`)."""
    async with asyncio.timeout(20):
        while not await session.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = $1",
            for_what,
        ):
            await asyncio.sleep(0.01)


async def test_a_rival_is_refused_while_the_holder_lives(log: Log) -> None:
    first = await log.writer(term_s=FOREVER, silence_s=FOREVER)
    second = await log.writer(wait_s=0.2)
    await first.append(incoming("a"))
    with pytest.raises(Transient) as caught:
        await second.append(incoming("b"))
    assert caught.value.code == "audit_writer_busy"
    assert f":{os.getpid()}" in (caught.value.actual or "")
    await first.append(incoming("c"))
    assert await entries(first) == ["a", "c"]
    assert second.pool.get_idle_size() == second.pool.get_size(), "the refused rival has given its connection back"


async def test_a_rival_in_line_takes_over_when_the_lease_is_given_back(log: Log, superuser: Session) -> None:
    first = await log.writer(term_s=FOREVER, silence_s=FOREVER)
    second = await log.writer(term_s=FOREVER, wait_s=30)
    await first.append(incoming("a"))
    waiting = asyncio.create_task(second.append(incoming("b")))
    await until_one_waits(superuser, "advisory")
    assert not waiting.done()
    await first.lease.release()
    await waiting
    assert await entries(second) == ["a", "b"]


async def test_a_successor_waits_for_an_append_that_has_begun(log: Log, superuser: Session) -> None:
    first = await log.writer(term_s=FOREVER)
    second = await log.writer(term_s=FOREVER, wait_s=30)
    batch = await first.prepare([incoming("a")])
    async with first.transactions.begin() as tx:
        await first.handler.apply(tx, batch)
        await first.lease.release()
        waiting = asyncio.create_task(second.append(incoming("b")))
        await until_one_waits(superuser, "transactionid")
        assert not waiting.done()
    await waiting
    assert await entries(second) == ["a", "b"]


async def test_a_refused_epoch_is_given_up(log: Log, superuser: Session) -> None:
    writer = await log.writer(term_s=FOREVER, silence_s=FOREVER)
    await writer.append(incoming("a"))
    await superuser.execute("UPDATE writer SET epoch = epoch + 1, holder = 'elsewhere:1'")
    with pytest.raises(Transient) as caught:
        await writer.append(incoming("b"))
    assert (caught.value.code, caught.value.expected) == ("audit_writer_fenced", "epoch 1")
    assert caught.value.actual == "epoch 2 of elsewhere:1"
    await writer.append(incoming("b"))
    assert await entries(writer) == ["a", "b"]


async def test_two_processes_take_turns_and_make_one_log(log: Log) -> None:
    writers = [await log.writer(term_s=0.05) for _ in range(2)]
    keepers = [asyncio.create_task(writer.lease.keep()) for writer in writers]

    async def work(writer: Writer, name: str) -> None:
        for number in range(30):
            while True:
                try:
                    await writer.append(incoming(f"{name}-{number}"))
                except Transient as error:
                    if error.code != "audit_writer_fenced":
                        raise
                else:
                    break

    async with asyncio.timeout(60):
        await asyncio.gather(*(work(writer, name) for writer, name in zip(writers, "ab", strict=True)))
    for keeper in keepers:
        keeper.cancel()
    await asyncio.gather(*keepers, return_exceptions=True)
    log_order = await entries(writers[0])
    assert sorted(log_order) == sorted(f"{name}-{number}" for name in "ab" for number in range(30))
    assert [event for event in log_order if event.startswith("a")] == [f"a-{number}" for number in range(30)]
    epochs = [row["writer_epoch"] for row in await writers[0].pool.fetch("SELECT * FROM tree_head ORDER BY size")]
    assert epochs == sorted(epochs)
    assert len(set(epochs)) > 2, "the lease changed hands"


async def test_a_paused_holder_loses_the_lease_and_cannot_append_when_it_wakes(log: Log) -> None:
    paused = await log.writer(term_s=FOREVER, silence_s=0.2)
    successor = await log.writer(term_s=FOREVER, silence_s=FOREVER, wait_s=30)
    batch = await paused.prepare([incoming("late"), incoming("later")])
    await successor.append(incoming("a"))  # waits until Postgres has ended the silent session
    with pytest.raises(Transient) as caught:
        async with paused.transactions.begin() as tx:
            await paused.handler.apply(tx, batch)
    assert caught.value.code == "audit_writer_fenced"
    assert await entries(successor) == ["a"]
    await successor.lease.release()
    await paused.append(incoming("late"), incoming("later"))
    assert await entries(successor) == ["a", "late", "later"]


async def test_a_holder_paused_inside_its_transaction_cannot_commit(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniment.audit.store.SILENCE_S", 0.2)
    paused = await log.writer(term_s=FOREVER, silence_s=0.2)
    successor = await log.writer(term_s=FOREVER, silence_s=FOREVER, wait_s=30)
    batch = await paused.prepare([incoming("late")])

    async def apply_and_pause() -> None:
        async with paused.transactions.begin() as tx:
            await paused.handler.apply(tx, batch)
            await successor.append(incoming("a"))  # waits for the row lock, until Postgres ends the silent transaction

    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await apply_and_pause()
    assert await entries(successor) == ["a"]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_successor_follows_a_killed_process_at_once_and_a_stopped_one_soon(
    log: Log, writer: Writer, end: signal.Signals
) -> None:
    # Killed: the closed connection alone must do it. Stopped: only the silence can.
    silence = FOREVER if end is signal.SIGKILL else 0.5
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD_AND_TELL, log.dsn, str(silence), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        epoch = int(await process.stdout.readline())
        process.send_signal(end)
        await writer.append(incoming("a"))
        assert await writer.pool.fetchval("SELECT epoch FROM writer") == epoch + 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    assert await entries(writer) == ["a"]


async def test_the_lease_is_given_back_when_there_is_nothing_more_to_append(log: Log) -> None:
    writer = await log.writer(term_s=0.02, silence_s=FOREVER)
    keeper = asyncio.create_task(writer.lease.keep())
    await writer.append(incoming("a"))
    rival = await log.writer(wait_s=30)
    await rival.append(incoming("b"))
    async with asyncio.timeout(20):
        while writer.pool.get_idle_size() != writer.pool.get_size():
            await asyncio.sleep(0.01)
    keeper.cancel()
    await asyncio.gather(keeper, return_exceptions=True)
    assert await entries(writer) == ["a", "b"]


async def test_a_batch_holds_the_lease_once(log: Log) -> None:
    writer = await log.writer(term_s=FOREVER)
    began = time.monotonic()
    await asyncio.gather(*(writer.handler.prepare(incoming(f"e-{number}")) for number in range(100)))
    await writer.append(*(incoming(f"e-{number}") for number in range(100)))
    assert await writer.pool.fetchval("SELECT epoch FROM writer") == 1
    assert await writer.pool.fetchval(
        "SELECT min(taken_at) > now() - make_interval(secs => $1) FROM writer", time.monotonic() - began + 5
    )


async def test_a_lost_connection_is_noticed_and_the_lease_taken_anew(log: Log, superuser: Session) -> None:
    writer = await log.writer(term_s=FOREVER, silence_s=FOREVER)
    await writer.append(incoming("a"))
    ended = await superuser.fetchval(
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    assert ended == 1
    async with asyncio.timeout(20):
        while True:
            try:
                await writer.append(incoming("b"))
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await asyncio.sleep(0.01)
            else:
                break
    assert await entries(writer) == ["a", "b"]


async def test_a_lease_whose_session_was_ended_unseen_is_given_back_and_taken_anew(
    log: Log, superuser: Session
) -> None:
    async with never_closing(log.dsn) as (dsn, told):
        writer = await Log(dsn, log.stack).writer(term_s=FOREVER, silence_s=2)
        await writer.append(incoming("a"))
        await superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        )
        async with asyncio.timeout(20):
            while not told():
                await asyncio.sleep(0.01)
        await writer.lease.release()
        async with asyncio.timeout(60):
            while True:
                try:
                    await writer.append(incoming("b"))
                except UNAVAILABLE:
                    await asyncio.sleep(0.01)
                else:
                    break
        assert await entries(writer) == ["a", "b"]


@contextlib.asynccontextmanager
async def never_closing(dsn: str) -> AsyncIterator[tuple[str, Callable[[], bool]]]:
    """A way to the database on which the end of a session is told but never seen, and whether one was told.

    Between the two lies a moment only, in which a woken process has much to do.
    """
    told = False
    socket = f"{parse_qs(urlsplit(dsn).query)['host'][0]}/.s.PGSQL.5432"
    clients: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(socket)

        async def answers() -> None:
            nonlocal told
            while data := await server_reader.read(65536):
                writer.write(data)
                told = told or b"57P01" in data

        async def requests() -> None:
            while data := await reader.read(65536):
                server_writer.write(data)

        both = asyncio.gather(answers(), requests(), return_exceptions=True)
        try:
            await both
        finally:
            server_writer.close()
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.add(asyncio.create_task(serve(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"postgresql://postgres@127.0.0.1:{port}{urlsplit(dsn).path}?sslmode=disable", lambda: told
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
