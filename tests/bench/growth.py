"""Whether a version costs the same when many are there already: latency, throughput and reads at rising sizes.

Each size is seeded on a stack of its own: versions of 10 k models, and as many in one model. Figures carry the prefix
`growth_` and the conditions `versions` and `models`. The object store has the artifacts of the run alone: a million
objects cannot be put there in minutes, so what S3 costs does not grow here. Nor is the log of Kafka seeded.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg

from . import latency, throughput
from .report import Report
from .seed import ROWS, seed
from .stack import Stack, running

SIZES = ((0, 10_000), (100_000, 10_000), (1_000_000, 10_000), (0, 1), (100_000, 1), (1_000_000, 1))
"""(versions there already, models they are of). With one model, what is published goes on its line: from version 1, and
from version 100,001 on."""
READS = 2_000
LISTS = 500


class Grown(Report):
    """Hands figures on to a report with the prefix and the size."""

    def __init__(self, to: Report, versions: int, models: int) -> None:
        super().__init__(figures=to.figures)
        self.to = to
        self.size = {"versions": versions, "models": models}

    def line(self, fields: dict[str, Any]) -> None:
        """One figure of one size."""
        if str(fields["metric"]).startswith(("stage_", "inside_")):
            return
        self.to.line({**fields, "metric": f"growth_{fields['metric']}", **self.size})

    def add(self, metric: str, value: float, unit: str, **conditions: Any) -> None:
        """Kept apart from the figures of an empty stack."""
        before = self.figures.get(metric)
        super().add(metric, value, unit, **conditions)
        self.figures[f"growth_{metric}@{self.size['versions']}/{self.size['models']}"] = self.figures.pop(metric)
        if before is not None:
            self.figures[metric] = before


async def measure(
    report: Report,
    *,
    sizes: tuple[tuple[int, int], ...] = SIZES,
    seconds: float = 15.0,
    count: int = 100,
) -> None:
    """Every size, from an empty stack on."""
    for versions, models in sizes:
        async with running() as stack:
            grown = Grown(report, versions, models)
            if versions:
                report.say(f"growth: seeding {versions} versions of {models} models ({ROWS})")
                began = time.perf_counter()
                await seed(stack.endpoints.postgres_dsn, versions, models, report.say)
                await _forget_statements(stack)
                grown.add("seed_s", time.perf_counter() - began, "s", rows=ROWS)
                grown.add("database_mib", await _database_mib(stack), "MiB")
                await reads(grown, stack, versions, models)
            await latency.measure_on(stack, grown, count=count, per_second=5.0, models=1 if models == 1 else 20)
            shape = "one model" if models == 1 else "many models"
            await throughput.measure_on(stack, grown, shape, seconds=seconds)
            await _statements(grown, stack)


async def reads(report: Report, stack: Stack, versions: int, models: int) -> None:
    """How long `resolve` and the lists take on a stack that `seed` has filled."""
    await asyncio.to_thread(_reads, report, stack, versions, models)


def _reads(report: Report, stack: Stack, versions: int, models: int) -> None:
    """One reader over HTTP: references of every kind, then pages of 100 of each list.

    The reader is the standard library's, on one connection: others take as long as the server itself.
    """
    chosen = random.Random(7)
    each = versions // models
    names = ["model"] if models == 1 else [f"model-{number}" for number in range(models)]
    place = urlsplit(stack.url)
    assert place.hostname is not None
    http = HTTPConnection(place.hostname, place.port, timeout=30)

    def timed(path: str, answer_key: str) -> float:
        began = time.perf_counter()
        http.request("GET", path, headers={"authorization": f"Bearer {stack.token}"})
        answer = http.getresponse()
        body = answer.read()
        taken = time.perf_counter() - began
        if answer.status != 200 or not json.loads(body)[answer_key]:
            raise RuntimeError(f"GET {path} answered {answer.status}: {body[:300]!r}")
        return taken

    def resolving(number: int) -> str:
        name = chosen.choice(names)
        reference = f"{name}@main" if number % 2 else f"{name}/{chosen.randint(1, each)}"
        return f"/api/v1/resolve?ref={quote(reference, safe='')}"

    def listing(kind: int) -> str:
        name = chosen.choice(names)
        return (
            f"/api/v1/models/{name}/versions?limit=100",
            f"/api/v1/models/{name}/log?limit=100",
            "/api/v1/models?limit=100",
            f"/api/v1/publications?limit=100&model={name}",
            f"/api/v1/audit/entries?limit=100&model={name if models > 1 else 'model-0'}&order=newest",
        )[kind]

    for number in range(200):
        timed(resolving(number), "id")
    taken = [timed(resolving(number), "id") for number in range(READS)]
    report.quantiles("resolve", taken, points=(50, 99), over="HTTP, one reader")
    every: list[float] = []
    for kind, what in enumerate(("versions", "log", "models", "publications", "audit")):
        for _ in range(10):
            timed(listing(kind), "items")
        some = [timed(listing(kind), "items") for _ in range(LISTS // 5)]
        report.quantiles(f"list_100_{what}", some, points=(99,), over="HTTP, one reader")
        every += some
    report.quantiles("list_100", every, points=(50, 99), over="HTTP, one reader; five kinds of lists")
    http.close()


async def _database_mib(stack: Stack) -> float:
    connection = await asyncpg.connect(stack.endpoints.postgres_dsn)
    try:
        return float(await connection.fetchval("SELECT pg_database_size(current_database())")) / 2**20
    finally:
        await connection.close()


async def _forget_statements(stack: Stack) -> None:
    """What seeding cost the database is no statement of the services'."""
    connection = await asyncpg.connect(stack.endpoints.postgres_dsn)
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        await connection.execute("SELECT pg_stat_statements_reset()")
    finally:
        await connection.close()


async def _statements(report: Report, stack: Stack) -> None:
    """The statements that took the most time of the database, for comparing sizes."""
    connection = await asyncpg.connect(stack.endpoints.postgres_dsn)
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        rows = await connection.fetch(
            "SELECT left(regexp_replace(query, '\\s+', ' ', 'g'), 90) AS statement, calls, total_exec_time AS ms, "
            "rows, shared_blks_read AS read FROM pg_stat_statements "
            "WHERE query NOT LIKE '%generate_series%' ORDER BY total_exec_time DESC LIMIT 25"
        )
    finally:
        await connection.close()
    for row in rows:
        report.say(f"statement {json.dumps({**dict(row), 'ms': round(row['ms'], 1)})}")


if __name__ == "__main__":
    asyncio.run(measure(Report()))
