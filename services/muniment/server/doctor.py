"""`muniment doctor`: each thing that must hold, asked by itself, so that the first failure hides no other."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg

from muniment.adapters.kafka import TopicLayout, ping, topic_drift
from muniment.contracts import topics
from muniment.contracts.errors import MunimentError
from muniment.runtime.settings import Settings
from muniment.server.checks import check_settings
from muniment.server.endpoints import CREDENTIALS, Endpoints, started_parts
from muniment.server.store import open_store

Finding = dict[str, Any]


async def examine(settings: Settings) -> list[Finding]:
    """All findings, in the order in which one would mend them."""
    findings = [_ok("python", sys.version.split()[0])]
    findings.append(await _ask("settings", lambda: _settings(settings)))
    server = await _server(settings.data_dir / CREDENTIALS)
    if server is not None:
        findings.extend(server)
        return findings
    try:
        async with started_parts(settings, lambda _: None) as (_, endpoints):
            findings.append(await _ask("kafka", lambda: ping(endpoints.kafka), endpoints.kafka.bootstrap))
            findings.append(await _ask("topics", lambda: _topics(settings, endpoints)))
            findings.append(await _ask("postgres", lambda: _database(endpoints.postgres_dsn)))
            findings.append(await _ask("s3", lambda: _store(settings, endpoints), endpoints.s3_endpoint))
    except MunimentError as error:
        findings.append({"check": "parts", "ok": False, "detail": str(error), "code": error.code})
    return findings


async def _settings(settings: Settings) -> None:
    check_settings(settings)


async def _topics(settings: Settings, endpoints: Endpoints) -> str:
    layout = TopicLayout(settings.kafka.topic_prefix, settings.kafka.partitions, settings.kafka.replication)
    drift = await topic_drift(endpoints.kafka, topics.everything(), layout)
    wrong = {name: values for name, values in drift.items() if any(actual is not None for _, actual in values.values())}
    if wrong:
        raise RuntimeError(f"settings differ from what must hold: {', '.join(sorted(wrong))}; see muniment topics")
    return f"{len(topics.everything()) - len(drift)} of {len(topics.everything())} there; the rest is made at start"


async def _database(dsn: str) -> str:
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()


async def _store(settings: Settings, endpoints: Endpoints) -> str:
    async with open_store(settings, endpoints):
        return f"{endpoints.s3_endpoint}, bucket {settings.s3.bucket} has versions and object lock"


async def _server(credentials: Path) -> list[Finding] | None:
    """What a running server says of itself; None where none answers, and the parts are then asked directly."""
    import httpx2

    try:
        url = json.loads(await asyncio.to_thread(credentials.read_text, "utf-8"))["url"]
        async with httpx2.AsyncClient(timeout=5, trust_env=False) as client:
            answer = await client.get(f"{url}/readyz")
        told = answer.json()
        checks: dict[str, dict[str, Any]] = {**told["checks"], **told.get("notes", {})}
    except (OSError, ValueError, KeyError, httpx2.HTTPError):
        return None
    server = [_ok("server", url)]
    server.extend(
        {"check": name, "ok": check["ok"], "detail": check.get("why", f"answers in {check['seconds'] * 1000:.0f} ms")}
        for name, check in checks.items()
    )
    return server


async def _ask(name: str, question: Callable[[], Awaitable[object]], detail: str = "ok") -> Finding:
    try:
        answer = await question()
    except MunimentError as error:
        return {"check": name, "ok": False, "detail": str(error), "code": error.code}
    except Exception as error:  # noqa: BLE001  # reason: whatever is wrong is the finding
        return {"check": name, "ok": False, "detail": f"{type(error).__name__}: {error}"}
    return _ok(name, answer if isinstance(answer, str) else detail)


def _ok(name: str, detail: str) -> Finding:
    return {"check": name, "ok": True, "detail": detail}
