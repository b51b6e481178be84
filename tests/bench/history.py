"""Questions about the history of one model with 10,000 versions: log, graph, blame, and an automatic bisect.

The versions are seeded straight into the tables (`seed.py`); each has an evaluation of a metric that drops at one of
them, which the bisect has to find. Over HTTP, one reader; medians.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from http.client import HTTPConnection
from urllib.parse import quote, urlsplit

import asyncpg

from .report import Report
from .seed import seed
from .stack import Stack, running

VERSIONS = 10_000
DROPS_AT = 7_321
ROUNDS = 5
_BATCH = "00000000-0000-0000-0000-000000000001"
QUESTIONS = {
    "log": "/models/model/log?limit=1000",
    "graph": "/models/model/graph?limit=1000&ref=model@main",
    "blame": "/blame?ref=model@main",
    "blame_whole_graph": "/blame?ref=model@main&whole_graph=true",
    "bisect": f"/bisect?good=model/1&bad=model/{VERSIONS}&metric=score&drop=0.05",
    "series": "/models/model/series?metric=score&limit=1000",
}


async def measure(report: Report) -> None:
    """On a stack of its own."""
    async with running() as stack:
        report.say(f"history: seeding {VERSIONS} versions of one model")
        await seed(stack.endpoints.postgres_dsn, VERSIONS, 1, report.say)
        await _evaluate(stack.endpoints.postgres_dsn)
        await asyncio.to_thread(_ask, report, stack)


async def _evaluate(dsn: str) -> None:
    """One evaluation of each version: 0.9, and 0.8 from one version on."""
    # The trigger on measurements names its tables bare.
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "registry"})
    try:
        await connection.execute(
            f"""INSERT INTO registry.measurement_batch VALUES
            ('{_BATCH}', 1, 1, 'evaluation', {VERSIONS}, '', 'muniment|seed', now())"""
        )
        await connection.execute(
            f"""INSERT INTO registry.measurement (batch_id, model_id, number, kind, metric, value, dataset, slice,
                measured_at, recorded_at, operator)
            SELECT '{_BATCH}', 1, i, 'evaluation', 'score', CASE WHEN i < {DROPS_AT} THEN 0.9 ELSE 0.8 END, '', '',
                now(), now(), 'muniment|seed' FROM generate_series(1, {VERSIONS}) AS i"""
        )
        await connection.execute("ANALYZE registry.measurement")
    finally:
        await connection.close()


def _ask(report: Report, stack: Stack) -> None:
    place = urlsplit(stack.url)
    assert place.hostname is not None
    http = HTTPConnection(place.hostname, place.port, timeout=120)

    def seconds(path: str) -> float:
        began = time.perf_counter()
        http.request("GET", f"/api/v1{quote(path, safe='/?&=@')}", headers={"authorization": f"Bearer {stack.token}"})
        answer = http.getresponse()
        body = json.loads(answer.read())
        taken = time.perf_counter() - began
        if answer.status != 200:
            raise RuntimeError(f"GET {path} answered {answer.status}: {str(body)[:300]}")
        if path.startswith("/bisect") and f"'number': {DROPS_AT}" not in str(body):
            raise RuntimeError(f"bisect did not find {DROPS_AT}: {str(body)[:300]}")
        return taken

    for name, path in QUESTIONS.items():
        seconds(path)
        taken = [seconds(path) for _ in range(ROUNDS)]
        report.add(f"history_{name}_s", statistics.median(taken), "s", versions=VERSIONS, n=ROUNDS)
    http.close()
