"""Verified versions a second: 8 publishers, 4 KiB artifacts already uploaded, 60 s, over many models and in one model.

Each publisher keeps a window of publications under way and sends the next as one ends. What a version costs is divided
over all versions of the measured time: processor seconds of every process, statements' rows and bytes of WAL, calls of
the store, bytes on the topics.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

import asyncpg

from muniment.contracts import topics

from .report import Report
from .stack import Stack, running
from .trainers import Run, Watcher, land, producer, send, watcher
from .usage import cpu_seconds

PUBLISHERS = 8
SIZE = 4096
WINDOW = 48
WARM_UP_S = 5.0
TRIED = 900
SPARE = 1.6
"""How many more are uploaded than the first try's pace needs."""
SHAPES = ("many models", "one model")


async def measure(report: Report, *, seconds: float = 60.0, shapes: Sequence[str] = SHAPES) -> None:
    """Many models, then one, each on a stack of its own."""
    for shape in shapes:
        async with running() as stack:
            await measure_on(stack, report, shape, seconds=seconds)


async def measure_on(stack: Stack, report: Report, shape: str, *, seconds: float) -> None:
    """One shape on a running stack."""

    async def landed(count: int, stem: str) -> list[Run]:
        report.say(f"throughput, {shape}: uploading {count} artifacts of 4 KiB")
        names = (f"model-{number % 400}" if shape == "many models" else "model" for number in range(count))
        return await land(stack, names, SIZE, stem=stem)

    pace = await _pace(stack, await landed(TRIED, "pace"))
    runs = await landed(int(pace * (WARM_UP_S + seconds) * SPARE), "throughput")
    report.say(f"throughput, {shape}: {seconds:g} s")
    await _sustain(report, stack, iter(runs), seconds, shape)


async def _pace(stack: Stack, runs: Sequence[Run]) -> float:
    """Versions a second of a first try, from its middle third: uploading takes longer than publishing does."""
    async with watcher(stack, [topics.VERSION_AVAILABLE]) as watching:
        left = iter(runs)
        await asyncio.gather(*(_publisher(stack, watching, left) for _ in range(PUBLISHERS)))
        arrived = sorted(watching.seen(topics.VERSION_AVAILABLE).values())
    third = len(arrived) // 3
    return third / (arrived[2 * third] - arrived[third])


async def _sustain(report: Report, stack: Stack, runs: Iterator[Run], seconds: float, shape: str) -> None:
    async with watcher(stack, [topics.VERSION_AVAILABLE]) as watching:
        publishers = [asyncio.create_task(_publisher(stack, watching, runs)) for _ in range(PUBLISHERS)]
        done = watching.seen(topics.VERSION_AVAILABLE)
        await asyncio.sleep(WARM_UP_S)
        costs, began, first = await _costs(stack), time.perf_counter(), len(done)
        # Ends early where every run is published: the time that was taken is what counts.
        await asyncio.wait(publishers, timeout=seconds)
        taken, versions = time.perf_counter() - began, len(done) - first
        spent = await _costs(stack)
        for task in publishers:
            task.cancel()
        for result in await asyncio.gather(*publishers, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
    name = "verified_versions_per_s" if shape == "many models" else "verified_versions_per_s_one_model"
    report.add(name, versions / taken, "1/s", shape=shape, publishers=PUBLISHERS, size=SIZE, seconds=round(taken, 1))
    if not versions:
        report.say(f"throughput, {shape}: nothing came after the {WARM_UP_S:.0f} s of warming up: measure for longer")
        return
    for what, unit in UNITS.items():
        if what in costs:
            report.add(f"version_{what}", (spent[what] - costs[what]) / versions, unit, shape=shape)


UNITS = {
    "cpu_ms_services": "ms",
    "cpu_ms_kafka": "ms",
    "cpu_ms_postgres": "ms",
    "cpu_ms_s3": "ms",
    "cpu_ms_publishers": "ms",
    "postgres_transactions": "1",
    "postgres_rows_written": "1",
    "postgres_wal_bytes": "B",
    "s3_calls": "1",
    "kafka_bytes": "B",
}


async def _publisher(stack: Stack, watching: Watcher, runs: Iterator[Run]) -> None:
    async with producer(stack) as made, asyncio.TaskGroup() as group:

        async def line() -> None:
            for run in runs:
                available = watching.expect(topics.VERSION_AVAILABLE, run.publication_id)
                await send(made, run)
                await available

        for _ in range(WINDOW):
            group.create_task(line())


async def _costs(stack: Stack) -> dict[str, float]:
    """Everything spent until now."""
    costs = {f"cpu_ms_{name}": cpu_seconds(of) * 1000 for name, of in stack.parts.items()}
    costs["cpu_ms_publishers"] = time.process_time() * 1000
    connection = await asyncpg.connect(stack.endpoints.postgres_dsn)
    try:
        row = await connection.fetchrow(
            "SELECT xact_commit, tup_inserted + tup_updated + tup_deleted AS rows, "
            "pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS wal FROM pg_stat_database WHERE datname = current_database()"
        )
    finally:
        await connection.close()
    costs["postgres_transactions"] = float(row["xact_commit"])
    costs["postgres_rows_written"] = float(row["rows"])
    costs["postgres_wal_bytes"] = float(row["wal"])
    log_folder = stack.folder / "kafka" / "data"
    costs["kafka_bytes"] = float(sum(file.stat().st_size for file in log_folder.rglob("*.log")))
    costs["s3_calls"] = await stack.s3_calls()
    return costs
