"""Reading a registry of 10,000 versions of 100 models: MLflow's search beside our list and resolve.

Both are seeded straight into their tables, and both are asked over HTTP by one reader, one question after the other.
MLflow is asked through its own client, since that is what its users have; ours on a plain connection.
"""

from __future__ import annotations

import asyncpg

from ..growth import reads
from ..report import Report
from ..seed import seed
from ..stack import running
from .client_call import ask
from .server import Server

VERSIONS = 10_000
MODELS = 100
COUNT = 200
_SEED = (
    "INSERT INTO registered_models (name, creation_time, last_updated_time) "
    "SELECT 'seeded-' || i, 1, 1 FROM generate_series(0, $2::int - 1) AS i WHERE $1::int > 0",
    "INSERT INTO model_versions (name, version, creation_time, last_updated_time, current_stage, source, status, run_id) "
    "SELECT 'seeded-' || i % $2::int, i / $2::int + 1, i, i, 'None', 's3://mlflow/seeded/' || i, 'READY', md5(i::text) "
    "FROM generate_series(0, $1::int - 1) AS i",
)


async def measure_ours(report: Report) -> None:
    """`resolve_ms_...`, `list_100_versions_ms_p99` and other lists, on a stack of its own."""
    async with running() as stack:
        report.say(f"search: seeding {VERSIONS} versions of {MODELS} models")
        await seed(stack.endpoints.postgres_dsn, VERSIONS, MODELS, report.say)
        await reads(report, stack, VERSIONS, MODELS)


async def measure_peer(report: Report, server: Server) -> None:
    """Their figures, after everything else: what is seeded stays in their tables."""
    report.say(f"mlflow: search among {VERSIONS} versions")
    connection = await asyncpg.connect(server.parts.database.replace("+psycopg2", ""))
    try:
        for statement in _SEED:
            await connection.execute(statement, VERSIONS, MODELS)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()
    answer = await ask(server, "search", count=COUNT, models=MODELS, versions=VERSIONS // MODELS)
    size = {"versions": VERSIONS, "models": MODELS, "over": "its client, one reader"}
    for name, call in (
        ("resolve", "get_model_version"),
        ("list_100_versions", "search_model_versions(name=...), 100"),
        ("search_page", "search_model_versions(), 100 of all models"),
    ):
        report.quantiles(f"mlflow_{name}", answer[name], points=(50, 99), call=call, **size)
