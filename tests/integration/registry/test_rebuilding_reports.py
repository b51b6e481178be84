"""What is reported on versions, made anew from the log: approvals, checks, measurements, deployments, edges of runs."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from muniment.registry.rebuilding.comparing import CANDIDATE, TABLES
from muniment.registry.rebuilding.folding import ACTIONS
from muniment.registry.rebuilding.work import Rebuild
from muniment.sdk import deployment_reported
from muniment.server.parts import Parts

from .conftest import PREFIX, Registry
from .rebuilding_bench import databases, governed, lived, log_of, rebuilt

FACTS = {
    "datasets": [{"name": "mnist", "digest": "sha256:aa", "uri": "s3://b/mnist"}, {"name": "extra"}],
    "code": {"repository": "https://example.org/r.git", "commit": "c0ffee"},
}
NOT_COMPARED = {
    "track": "rules of now",
    "stored_object": "compared as files of versions and releases",
    "tensor_digest": "what was once read of files",
    "scrub_pace": "how the scrubber goes on",
    "manifest_round": "how the scrubber goes on",
    "manifest_damage": "found again by the scrubber",
    "refusal_tally": "entries that are not written yet",
    "scrub_run": "passes that somebody asked for",
    "reversible": "what revert asks",
    "divergence": "follows from measurements",
    "inbox": "delivery",
    "outbox": "delivery",
    "dead_letter": "delivery",
    "schema_migrations": "dbmate",
}


def later(seconds: float) -> str:
    """After every version of the test, and not too far in the future."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def run_event(registry: Registry, run: str, outputs: list[str], job: str = "scan") -> None:
    """An OpenLineage event of a run elsewhere."""
    sent = {
        "eventType": "COMPLETE",
        "eventTime": "2026-01-01T00:00:00.5Z",
        "producer": "https://example.org/etl",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": run},
        "job": {"namespace": "etl", "name": job},
        "inputs": [{"namespace": "s3://raw", "name": "scäns"}],
        "outputs": [{"namespace": "s3://b", "name": name} for name in outputs],
    }
    await registry.post("/lineage/openlineage", as_="ada", **sent)


async def reported(registry: Registry, model: str = "worn") -> None:
    """Every kind of report; a few measurements and edges, and more than an entry holds."""
    at = f"/models/{model}"
    one = f"{model}/1"
    await registry.commit(model, accuracy=0.9, facts={**FACTS, "run_id": "r1"})
    await registry.post(f"{at}/promote", ref=one, reason="first")
    tolerances = [{"metric": "accuracy", "absolute": 0.04}]
    await registry.call("PUT", f"{at}/contract", json={"tolerances": tolerances})
    await registry.post(f"{at}/releases", version="1.0.0", ref=one)
    await registry.post(f"{at}/approvals", as_="pam", ref=one, comment="good\tenough")
    await registry.post(f"{at}/approvals", as_="pam", ref=one, approved=False)
    for passed in (False, True):
        await registry.post(f"{at}/checks", as_="ada", ref=one, name="bias/gender", passed=passed, details="dé")
    few: list[dict[str, Any]] = [
        {"metric": "accuracy", "value": 1 / 3, "dataset": "test", "slice": "sevens"},
        {"metric": "loss", "value": 1e20, "unit": "nats"},
        {"metric": "loss", "value": -0.0, "at": later(1)},
        {"metric": "accuracy", "value": 0.5},
    ]
    many = [{"metric": "latency", "value": n / 7, "unit": "ms", "at": later(2 + n / 1000)} for n in range(300)]
    for verb, rows in (("evaluations", few), ("observations", many), ("evaluations", [{**few[3], "value": 0.9}])):
        body = {"ref": one, "measurements": rows}
        await registry.call("POST", f"{at}/{verb}", as_="ada", status=201, json=body)
    place = {"environment": "eu/west", "deployer": "k8s/a", "state": "running"}
    long = {"url": "https://run.test/" + "u" * 1500, "details": "ä" * 9000}
    await registry.post(f"{at}/deployments", as_="ada", status=201, ref=f"{model}@1.0.0", **place, **long)
    key = registry.keys.register("argo")
    more: dict[str, Any] = {**place, "state": "stopped", "source": "//argo.test", "topic_prefix": PREFIX}
    await registry.take_sent(deployment_reported(one, private_key=key.private_pem, **more))
    run = str(uuid.UUID(int=7))
    await run_event(registry, run, ["mnist"], job="j" * 1500)
    await run_event(registry, run, ["mnist", "other"])
    await run_event(registry, str(uuid.UUID(int=8)), [f"part-{n:040}" for n in range(300)])


async def reverted(registry: Registry, model: str) -> None:
    """A promotion that is taken back."""
    for number in (1, 2):
        await registry.commit(model)
        await registry.post(f"/models/{model}/promote", ref=f"{model}/{number}", reason="forward")
    event = await registry.pool.fetchval(
        "SELECT audit_event FROM reversible WHERE target = 'baseline' ORDER BY changed_at DESC LIMIT 1"
    )
    await registry.post(f"/models/{model}/revert", event_id=event, reason="a mistake")


async def test_every_verb_and_every_table_comes_back(registry: Registry, fresh: str) -> None:
    await governed(registry)
    await lived(registry, "lived")
    await reverted(registry, "turned")
    await reported(registry)
    async with databases(registry, fresh) as (live, target):
        report = (await rebuilt(registry, live, target)).report.as_json()
        tables = {
            row["tablename"]
            for row in await live.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'registry'")
        }
    assert report["problems"] == []
    assert report["differences"] == []
    assert report["unknown_actions"] == {}
    # A signature is judged otherwise only by a registry that trusts other keys; a repair needs damage first.
    seldom = {"baseline.recovered", "version.signature_checked", "integrity.restored"}
    assert {entry.action for entry in (await log_of(registry)).entries_} >= ACTIONS.keys() - seldom
    compared = report["rows_compared"]
    assert tables - NOT_COMPARED.keys() == {table.name for table in (*TABLES, CANDIDATE)} == compared.keys()
    assert {name: compared[name] for name in ("approval", "version_check", "measurement_batch", "deployment")} == {
        "approval": 2, "version_check": 2, "measurement_batch": 3, "deployment": 2,
    }  # fmt: skip
    assert (compared["measurement"], compared["metric_unit"], compared["external_edge"]) == (305, 2, 304)
    assert (compared["version_dataset"], compared["version_code"]) == (2, 1)
    assert report["by_digest"] == {"measurement": 300, "external_edge": 301}


TAMPERED = {
    # table and column: what an owner of the database does to one row, and which row that is found to be
    ("approval", "comment"): ("UPDATE approval SET comment = 'bad' WHERE approved", "worn/1/1"),
    ("version_check", "passed"): ("UPDATE version_check SET passed = true WHERE NOT passed", "worn/1/1"),
    ("measurement_batch", "operator"): ("UPDATE measurement_batch SET operator = 'x' WHERE count = 4", None),
    ("measurement", "value"): ("UPDATE measurement SET value = 0.34 WHERE slice = 'sevens'", None),
    ("measurement", "rows"): ("UPDATE measurement SET value = 0.1 WHERE value = 10::float8 / 7", None),
    ("measurement", "operator"): ("UPDATE measurement SET operator = 'x' WHERE value = 11::float8 / 7", None),
    ("metric_unit", "unit"): ("UPDATE metric_unit SET unit = 's' WHERE metric = 'latency'", "worn/latency"),
    ("deployment", "url"): ("UPDATE deployment SET url = 'https://x' WHERE url IS NOT NULL", "worn/1"),
    ("deployment", "at"): ("UPDATE deployment SET at = '2020-01-01Z' WHERE state = 'stopped'", "worn/2"),
    ("external_edge", "job"): ("UPDATE external_edge SET job = 'x' WHERE name LIKE '%other'", None),
    ("external_edge", "rows"): ("DELETE FROM external_edge WHERE name LIKE '%0000007'", None),
    ("external_edge", None): ("UPDATE external_edge SET digest = 'x' WHERE name LIKE '%mnist'", None),
    ("version_dataset", "digest"): ("UPDATE version_dataset SET digest = 'x' WHERE name = 'mnist'", "worn/1/2"),
    ("version_code", "commit"): ("UPDATE version_code SET commit = 'x'", "worn/1"),
}


async def test_a_changed_report_is_named_whichever_table_it_is_in(registry: Registry, fresh: str, parts: Parts) -> None:
    await reported(registry)
    async with databases(registry, fresh) as (live, target):
        first = await rebuilt(registry, live, target)
        assert first.report.as_json()["ok"]
        database = await registry.pool.fetchval("SELECT current_database()")
        dsn = parts.postgres.dsn.replace("/muniment?", f"/{database}?")
        owner = await asyncpg.connect(dsn, server_settings={"search_path": "registry"})
        try:
            for table, _ in TAMPERED:
                await owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            for statement, _ in TAMPERED.values():
                assert (await owner.execute(statement)).endswith(" 1"), statement
        finally:
            await owner.close()
        again = Rebuild(first.log, first.manifests, candidates=first.candidates, digested=first.digested)
        await again.compare(live, target)
    found = again.report.as_json()["differences"]
    assert {(one["table"], one["column"]) for one in found} == TAMPERED.keys()
    assert len(found) == len(TAMPERED) + 1, "an edge of another key is one that is gone and one that came"
    for (table, column), (_, key) in TAMPERED.items():
        (shown, *_) = (one for one in found if (one["table"], one["column"]) == (table, column))
        assert key in (None, shown["key"]), (table, column)
