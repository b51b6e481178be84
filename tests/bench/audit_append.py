"""How many audit entries a second the log takes: domain, store and outbox rows, on a real Postgres.

    python tests/bench/audit_append.py --entries 50000 --batch 500

Prints one JSON line. The requests are made beforehand; what is timed is what the handler does with them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import muniment.audit
import muniment.runtime.delivery as delivery
from muniment.adapters.postgres import Schema, migrate, open_pool
from muniment.audit.handlers import AppendEntries
from muniment.audit.lease import WriterLease
from muniment.contracts.cloudevent import CloudEvent, content_event_id
from muniment.contracts.codec import parse
from muniment.contracts.events import AuditRequested
from muniment.ports.clock import SystemClock
from muniment.runtime.delivery.incoming import Incoming, Place
from muniment.runtime.delivery.transaction import Transactions
from muniment.server.parts.datadir import open_data_dir
from muniment.server.parts.postgres import run_postgres
from muniment.server.parts.process import start_guard


def request(number: int) -> Incoming[AuditRequested]:
    """An audit request as the registry makes it for a committed version."""
    model = f"model-{number % 100}"
    data = {
        "action": "version.committed",
        "service": "registry",
        "operator": f"muniment|trainer-{number % 20}",
        "authenticated_by": "signature",
        "model": model,
        "resource": f"models/{model}/versions/{number}",
        "changes": [
            {"path": "branches/main", "before": f"sha256:{number:064x}", "after": f"sha256:{number + 1:064x}"},
            {"path": "versions", "after": {"number": number, "files": 3, "bytes": 4096}},
        ],
        "cause": {"kind": "event", "id": f"c-{number}", "topic": "muniment.model-validated.v1", "offset": number},
        "occurred_at": "2026-05-17T12:00:00Z",
    }
    event = CloudEvent(
        content_event_id("bench", str(number)),
        "/muniment/registry",
        "muniment.audit-requested.v1",
        b"{}",
        extensions={"correlationid": content_event_id("flow", str(number // 3))},
    )
    return Incoming(event, parse(AuditRequested, data), Place("muniment.audit-requested.v1", 0, number), 1)


async def measure(dsn: str, entries: int, batch: int) -> dict[str, Any]:
    """Append the entries; returns the figures."""
    folders = (Path(package.__path__[0]) / "sql/migrations" for package in (delivery, muniment.audit))
    await migrate(dsn, [Schema("audit", tuple(folders))])
    pool = await open_pool(dsn, "audit", max_size=4)
    lease = WriterLease(pool)
    handler = AppendEntries(lease)
    transactions = Transactions(pool, "audit", "muniment.", SystemClock(), lambda: True)
    items = [request(number) for number in range(entries)]
    gc.freeze()  # a service never holds so many at once: their collection is none of its time
    times: list[float] = []
    for first in range(0, entries, batch):
        began = time.perf_counter()
        prepared = [(item, await handler.prepare(item)) for item in items[first : first + batch]]
        async with transactions.begin() as tx:
            await handler.apply(tx, prepared)
        times.append(time.perf_counter() - began)
    await lease.release()
    size = await pool.fetchval("SELECT max(size) FROM tree_head")
    if size != entries:
        raise RuntimeError(f"the log has {size} entries, not {entries}")
    leaf = await pool.fetchval("SELECT avg(length(data))::int FROM entry")
    table = await pool.fetchval("SELECT pg_total_relation_size('entry')")
    await pool.close()
    times.sort()
    return {
        "figure": "audit_append",
        "entries": entries,
        "batch": batch,
        "entries_per_s": round(entries / sum(times)),
        "batch_ms_p50": round(times[len(times) // 2] * 1000, 1),
        "batch_ms_p99": round(times[len(times) * 99 // 100] * 1000, 1),
        "leaf_bytes": leaf,
        "table_bytes_per_entry": table // entries,
    }


async def main() -> None:
    """Run on a Postgres of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        async with (
            open_data_dir(Path(folder) / "data", lambda _: None) as data,
            start_guard(data.lock_fd) as guard,
            run_postgres(data, guard, lambda _: None) as (postgres, _),
        ):
            print(json.dumps(await measure(postgres.dsn, options.entries, options.batch)))


if __name__ == "__main__":
    asyncio.run(main())
