"""Many publications in a row leave the services as they were: memory, threads, sockets and file handles.

By events, 4 KiB each, in chunks; figures are taken after the first tenth and at the end, each after a pause in which
nothing is published. `endurance_leak_mib_per_1000` is the rise of resident memory between the two.
"""

from __future__ import annotations

import asyncio
import time

import asyncpg

from .idle import held, publish
from .report import Report
from .stack import Stack, running
from .usage import memory_mib


async def measure(report: Report, *, count: int = 100_000, chunk: int = 1_000, settle_s: float = 30.0) -> None:
    """Publish `count` versions, `chunk` at a time."""
    async with running() as stack:
        began, done = time.perf_counter(), 0
        early: dict[str, float] = {}
        early_at = 0
        while done < count:
            now = min(chunk, count - done)
            await publish(stack, now, stem=f"endurance-{done}")
            done += now
            report.say(f"endurance: {done} of {count}, {memory_mib(stack.services):.0f} MiB")
            if not early and done >= count / 10:
                early, early_at = await _state(stack, settle_s), done
        seconds = time.perf_counter() - began
        late = await _state(stack, settle_s)
        for name, value in late.items():
            unit = "MiB" if name.endswith("mib") else "1"
            report.add(f"endurance_{name}_early", early[name], unit, versions=early_at)
            report.add(f"endurance_{name}_end", value, unit, versions=count)
        if done > early_at:
            leak = (late["rss_mib"] - early["rss_mib"]) / (done - early_at) * 1000
            report.add("endurance_leak_mib_per_1000", leak, "MiB", versions=done - early_at)
        report.add("endurance_s", seconds, "s", versions=count)
        report.add("endurance_database_bytes_per_version", late["database_mib"] * 2**20 / count, "B", versions=count)


async def _state(stack: Stack, settle_s: float) -> dict[str, float]:
    """What the services hold after a pause, and the size of the database and of the data folder."""
    await asyncio.sleep(settle_s)
    connection = await asyncpg.connect(stack.endpoints.postgres_dsn)
    try:
        database = await connection.fetchval("SELECT pg_database_size(current_database())")
    finally:
        await connection.close()
    disk = sum(file.stat().st_blocks * 512 for file in stack.folder.rglob("*") if file.is_file())
    return {
        "rss_mib": memory_mib(stack.services),
        **held(stack.services[0]),
        "database_mib": database / 2**20,
        "disk_mib": disk / 2**20,
    }
