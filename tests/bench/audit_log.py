"""The published log: entry to checkpoint while it is appended to, and proofs from a large log.

    python tests/bench/audit_log.py --entries 50000 --batch 500 --large 1000000 --proofs 500

Prints JSON lines. The store is in memory: what is timed is the publisher's own work and Postgres. The large log's hashes
are put straight into the tables (its entries are two bytes long), so that a million take seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import tempfile
import time
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
from muniment.audit.merkle import Frontier, leaf_hash
from muniment.audit.published import PublishedLog
from muniment.audit.publisher import Publisher
from muniment.audit.tiles import Growing
from muniment.ports.clock import SystemClock
from muniment.runtime.delivery.transaction import Transactions
from muniment.server.parts.datadir import open_data_dir
from muniment.server.parts.postgres import run_postgres
from muniment.server.parts.process import start_guard
from tests.bench.audit_append import request

CHUNK = 10_000


async def measure_publishing(pool: asyncpg.Pool[Any], folder: Path, entries: int, batch: int) -> dict[str, Any]:
    """Append while a publisher runs beside; how long each batch waits for its checkpoint."""
    transactions = Transactions(pool, "audit", "muniment.", SystemClock(), lambda: True)
    blobs = MemoryBlobStore()
    await blobs.ensure_bucket("audit", object_lock=True)
    bucket = LogBucket(blobs, SystemClock(), "audit", timedelta(hours=1))
    publisher = Publisher(pool, bucket, Keyring(transactions, FileKeys(folder / "audit.key")), SystemClock())
    lease = WriterLease(pool)
    handler = AppendEntries(lease, publisher.wake)
    running = asyncio.create_task(publisher.run())
    appended: list[tuple[int, datetime]] = []
    made = [request(number) for number in range(entries)]
    began = time.perf_counter()
    for first in range(0, entries, batch):
        prepared = [(item, await handler.prepare(item)) for item in made[first : first + batch]]
        async with transactions.begin() as tx:
            await handler.apply(tx, prepared)
        appended.append((min(first + batch, entries), datetime.now(UTC)))
    took = time.perf_counter() - began
    size = await pool.fetchval("SELECT max(size) FROM tree_head")
    async with asyncio.timeout(60):
        while (await pool.fetchval("SELECT coalesce(max(size), 0) FROM checkpoint")) < size:
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await lease.release()
    checkpoints = await pool.fetch("SELECT size, published_at FROM checkpoint ORDER BY size")
    waits = sorted(
        next(row["published_at"] for row in checkpoints if row["size"] >= end).timestamp() - at.timestamp()
        for end, at in appended
    )
    return {
        "figure": "audit_publish",
        "entries": entries,
        "batch": batch,
        "entries_per_s": round(entries / took),
        "checkpoints": len(checkpoints),
        "entry_to_checkpoint_ms_p50": round(1000 * waits[len(waits) // 2]),
        "entry_to_checkpoint_ms_p99": round(1000 * waits[len(waits) * 99 // 100]),
    }


async def seed(pool: asyncpg.Pool[Any], count: int) -> None:
    """A log of so many small entries with its tile roots, and one checkpoint that covers it."""
    growing, tree = Growing(), Frontier()
    at = datetime.now(UTC)
    data, leaf = b"{}", leaf_hash(b"{}")
    roots = []
    columns = ["index", "event_id", "leaf_hash", "root_hash", "data", "log_time", "action", "outcome", "operator"]
    for first in range(0, count, CHUNK):
        rows = []
        for index in range(first, min(count, first + CHUNK)):
            leaf = hashlib.sha256(b"%d" % index).digest()
            roots += [(one.tile.level, one.tile.index, one.root) for one in growing.add(data, leaf) if one.root]
            tree = tree.append(leaf)
            rows.append((index, f"s-{index}", leaf, leaf, data, at, "bench", "done", "muniment|bench", "bench"))
        await pool.copy_records_to_table("entry", records=rows, columns=[*columns, "resource"])
    await pool.copy_records_to_table("tile_root", records=roots, columns=["level", "index", "root"])
    await pool.execute("INSERT INTO checkpoint (size, root, note) VALUES ($1, $2, 'bench')", count, tree.root())


async def measure_proofs(pool: asyncpg.Pool[Any], size: int, proofs: int) -> dict[str, Any]:
    """Receipts and consistency proofs at random places."""
    log = PublishedLog(pool)
    dice = random.Random(7)
    figures: dict[str, Any] = {"figure": "audit_proofs", "entries": size, "proofs": proofs}
    for name in ("receipt", "consistency"):
        times = []
        for _ in range(proofs):
            place = dice.randrange(size)
            began = time.perf_counter()
            await (log.receipt(place) if name == "receipt" else log.consistency(place))
            times.append(time.perf_counter() - began)
        times.sort()
        figures[f"{name}_ms_p50"] = round(1000 * times[len(times) // 2], 2)
        figures[f"{name}_ms_p99"] = round(1000 * times[len(times) * 99 // 100], 2)
    return figures


async def main() -> None:
    """Run on a Postgres of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--proofs", type=int, default=500)
    options = parser.parse_args()
    folders = tuple(Path(package.__path__[0]) / "sql/migrations" for package in (delivery, muniment.audit))
    with tempfile.TemporaryDirectory() as folder:
        async with (
            open_data_dir(Path(folder) / "data", lambda _: None) as data,
            start_guard(data.lock_fd) as guard,
            run_postgres(data, guard, lambda _: None) as (postgres, _),
        ):
            for name in ("audit", "large"):
                dsn = postgres.dsn
                if name == "large":
                    session = await asyncpg.connect(dsn)
                    await session.execute("CREATE DATABASE large")
                    await session.close()
                    dsn = dsn.replace("/muniment?", "/large?")
                await migrate(dsn, [Schema("audit", folders)])
                async with await open_pool(dsn, "audit", max_size=4) as pool:
                    if name == "audit":
                        figures = await measure_publishing(pool, Path(folder), options.entries, options.batch)
                    else:
                        await seed(pool, options.large)
                        figures = await measure_proofs(pool, options.large, options.proofs)
                print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
