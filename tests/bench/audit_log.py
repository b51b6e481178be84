"""The audit log by itself: appending with the publisher beside it, entry to checkpoint, and proofs from a large log.

No stack: a Postgres, the writer's own handler, and a store in memory, so that the publisher's work and Postgres are
what is timed. The large log's `size` entries of 600 bytes are put straight into the tables, about a minute for a
million, without the indexes that no proof reads; root hashes are right only where a proof is asked for.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

import muniment.audit
import muniment.runtime.delivery as delivery
from muniment.adapters.memory.store import MemoryBlobStore
from muniment.adapters.postgres import Schema, migrate, open_pool
from muniment.adapters.signing_keys import FileKeys
from muniment.audit.bucket import LogBucket
from muniment.audit.handlers import AppendEntries
from muniment.audit.keyring import Keyring
from muniment.audit.lease import WriterLease
from muniment.audit.published import PublishedLog
from muniment.audit.publisher import Publisher
from muniment.audit.tiles import Growing, nodes_of
from muniment.ports.clock import SystemClock
from muniment.runtime.delivery.transaction import Transactions
from muniment.server.parts.datadir import open_data_dir
from muniment.server.parts.postgres import run_postgres
from muniment.server.parts.process import start_guard

from .audit_append import request
from .report import Report
from .seed import Subtrees

CHUNK = 20_000
COLUMNS = ["index", "event_id", "leaf_hash", "root_hash", "data", "log_time", "action", "outcome", "operator"]
SEED = 7


async def measure(
    report: Report, *, count: int = 50_000, batch: int = 500, size: int = 1_000_000, proofs: int = 1_000
) -> None:
    """Append `count` entries in batches; then `proofs` proofs of each kind at random places of a log of `size`."""
    with tempfile.TemporaryDirectory() as folder:
        async with _postgres(Path(folder)) as dsn:
            async with _database(dsn, "small") as pool:
                await _appending(report, pool, Path(folder), count, batch)
            async with _database(dsn, "large") as pool:
                dice = random.Random(SEED)
                places = [dice.randrange(1, size) for _ in range(proofs)]
                began = time.perf_counter()
                await seed(pool, size, set(places))
                report.say(f"{size} entries written in {time.perf_counter() - began:.0f} s")
                await _proofs(report, pool, size, places)


async def _appending(report: Report, pool: asyncpg.Pool[Any], folder: Path, count: int, batch: int) -> None:
    """Append while a publisher runs beside; how long each batch waits for its checkpoint."""
    transactions = Transactions(pool, "audit", "muniment.", SystemClock(), lambda: True)
    blobs = MemoryBlobStore()
    await blobs.ensure_bucket("audit", object_lock=True)
    bucket = LogBucket(blobs, SystemClock(), "audit", timedelta(hours=1))
    publisher = Publisher(pool, bucket, Keyring(transactions, FileKeys(folder / "audit.key")), SystemClock())
    lease = WriterLease(pool)
    handler = AppendEntries(lease, publisher.wake)
    made = [request(number) for number in range(count)]
    gc.freeze()  # a service never holds so many at once: their collection is none of its time
    running = asyncio.create_task(publisher.run())
    appended: list[tuple[int, datetime]] = []
    began = time.perf_counter()
    for first in range(0, count, batch):
        prepared = [(item, await handler.prepare(item)) for item in made[first : first + batch]]
        async with transactions.begin() as tx:
            await handler.apply(tx, prepared)
        appended.append((min(first + batch, count), datetime.now(UTC)))
    taken = time.perf_counter() - began
    size = await pool.fetchval("SELECT max(size) FROM tree_head")
    async with asyncio.timeout(60):
        while (await pool.fetchval("SELECT coalesce(max(size), 0) FROM checkpoint")) < size:
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await lease.release()
    checkpoints = await pool.fetch("SELECT size, published_at FROM checkpoint ORDER BY size")
    waits = [
        next(row["published_at"] for row in checkpoints if row["size"] >= end).timestamp() - at.timestamp()
        for end, at in appended
    ]
    report.add("audit_append_per_s", count / taken, "1/s", entries=count, batch=batch, checkpoints=len(checkpoints))
    report.quantiles("audit_checkpoint", waits, batch=batch)


async def _proofs(report: Report, pool: asyncpg.Pool[Any], size: int, places: list[int]) -> None:
    """Receipts and consistency proofs, one after another."""
    log = PublishedLog(pool)
    asked: tuple[tuple[str, Callable[[int], Awaitable[object]]], ...] = (
        ("audit_receipt", log.receipt),
        ("audit_consistency", log.consistency),
    )
    for name, ask in asked:
        times = []
        for place in places:
            began = time.perf_counter()
            await ask(place)
            times.append(time.perf_counter() - began)
        report.quantiles(name, times, (50, 99), entries=size)


async def seed(pool: asyncpg.Pool[Any], size: int, sizes: set[int]) -> None:
    """A log of so many entries with all that proofs read; root hashes are right for the trees of `sizes` and the last.

    The others have their leaf hashes there. One checkpoint covers it.
    """
    async with pool.acquire() as connection:
        await connection.execute("SET ROLE NONE")  # the service's own may not drop indexes
        for row in await connection.fetch(
            "SELECT indexrelid::regclass::text AS name FROM pg_index "
            "WHERE indrelid = 'entry'::regclass AND NOT indisunique"
        ):
            await connection.execute(f"DROP INDEX {row['name']}")
        await _fill(connection, size, sizes)
        await connection.execute("VACUUM (ANALYZE)", timeout=300)
        await connection.execute("SET ROLE muniment_audit")


async def _fill(connection: Any, size: int, sizes: set[int]) -> None:
    growing, tree = Growing(), Subtrees(0, [])
    at = datetime.now(UTC)
    for first in range(0, size, CHUNK):
        rows, full = [], []
        for index in range(first, min(size, first + CHUNK)):
            data = b'{"n":%d,"pad":"%s"}' % (index, b"x" * 580)
            leaf = root = hashlib.sha256(b"\x00" + data).digest()
            full += growing.add(b"", leaf)
            tree.add(leaf)
            if index + 1 in sizes or index + 1 == size:
                root = tree.root()
            rows.append((index, f"s-{index:09d}", leaf, root, data, at, "bench", "done", "muniment|bench", "bench"))
        roots = [(one.tile.level, one.tile.index, one.root) for one in full if one.root]
        nodes = [(one.tile.level, one.tile.index, nodes_of(one.content)) for one in full if one.root]
        await connection.copy_records_to_table("entry", records=rows, columns=[*COLUMNS, "resource"])
        await connection.copy_records_to_table("tile_root", records=roots, columns=["level", "index", "root"])
        await connection.copy_records_to_table("tile_nodes", records=nodes, columns=["level", "index", "nodes"])
    await connection.execute("INSERT INTO checkpoint (size, root, note) VALUES ($1, $2, 'bench')", size, tree.root())


@asynccontextmanager
async def _postgres(folder: Path) -> AsyncIterator[str]:
    async with (
        open_data_dir(folder / "data", lambda _: None) as data,
        start_guard(data.lock_fd) as guard,
        run_postgres(data, guard, lambda _: None) as (postgres, _),
    ):
        yield postgres.dsn


@asynccontextmanager
async def _database(dsn: str, name: str) -> AsyncIterator[asyncpg.Pool[Any]]:
    """A log's own database, as the service has it."""
    folders = tuple(Path(package.__path__[0]) / "sql/migrations" for package in (delivery, muniment.audit))
    session = await asyncpg.connect(dsn)
    try:
        await session.execute(f"CREATE DATABASE {name}")
    finally:
        await session.close()
    dsn = dsn.replace("/muniment?", f"/{name}?")
    await migrate(dsn, [Schema("audit", folders)])
    async with await open_pool(dsn, "audit", max_size=4) as pool:
        yield pool
