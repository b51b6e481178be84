"""The commands that need the server: `muniment up|run|demo|doctor|migrate|rebuild|topics`. All return exit codes."""

from __future__ import annotations

import asyncio
import json as jsonlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from muniment.runtime.settings import Settings
from muniment.server import process
from muniment.server.endpoints import reached_parts
from muniment.server.topic_watch import remedy

if TYPE_CHECKING:
    from muniment.adapters.kafka import TopicLayout
    from muniment.contracts.topics import Topic

Address = tuple[str, int] | None


def up(*, data_dir: Path | None, http: Address, json: bool) -> int:
    """All services and parts here, until a signal. Prints `ready URL` (as JSON: `{"ready": URL}`)."""
    settings = _settings(data_dir, http)
    return process.run_until_signalled(lambda: process.up(settings, _ready(json)), settings)


def run(services: Sequence[str], *, http: Address, json: bool) -> int:
    """The named services against external parts, until a signal. Prints `ready URL`."""
    settings = _settings(None, http)
    return process.run_until_signalled(lambda: process.run(settings, tuple(services), _ready(json)), settings)


def demo(*, data_dir: Path | None, json: bool) -> int:
    """The main job from beginning to end. `data_dir` keeps its data."""
    from muniment.server.demo.script import run_demo

    return run_demo(data_dir, as_json=json)


def migrate(*, json: bool) -> int:
    """Bring all schemas up to date."""
    from muniment.adapters.postgres import migrate as migrate_schemas
    from muniment.server.wiring import chosen, schemas

    settings = Settings()

    async def main() -> dict[str, list[str]]:
        async with reached_parts(settings, process.say) as endpoints:
            return await migrate_schemas(endpoints.postgres_dsn, schemas(chosen(())))

    applied = asyncio.run(main())
    if json:
        print(jsonlib.dumps({"applied": applied}))
        return 0
    for schema, versions in applied.items():
        print(f"{schema:<20} {'applied ' + ', '.join(versions) if versions else 'up to date'}")
    return 0


def rebuild(*, into: str, entries: Path | None, compare: bool, json: bool) -> int:
    """Make the registry's state anew in a fresh database; 1 when something is missing or differs."""
    from muniment.registry.rebuilding.report import summary
    from muniment.server import rebuild as rebuilding

    report = asyncio.run(rebuilding.rebuild(Settings(), into, entries, compare=compare, progress=process.say))
    print(jsonlib.dumps(report) if json else "\n".join(summary(report, compared=compare)))
    return 0 if report["ok"] else 1


def audit_verify(
    *, keys: Sequence[str], witnesses: Sequence[str], require: int | None, only: Sequence[str], json: bool
) -> int:
    """Hold the layers of the audit log against each other; 1 when one disagrees."""
    from muniment.server.verifying.command import verify
    from muniment.verifier.main import Line

    with Line(json) as line:
        report = asyncio.run(
            verify(
                Settings(),
                keys=keys,
                witnesses=witnesses,
                require=require,
                only=only,
                say=process.say,
                progress=lambda layer, done: line.count(layer, done),
            )
        )
    print(jsonlib.dumps(report.as_json()) if json else report.text())
    return 0 if report.ok else 1


def topics(what: Literal["check", "acls"] | None = None, *, json: bool) -> int:
    """Create the topics that are missing, or `check`: change nothing; 1 when one has other settings than it must.

    `acls`: print who must be allowed what on a broker with an authorizer.
    """
    from muniment.adapters.kafka import TopicLayout, ensure_topics, topic_drift
    from muniment.contracts import topics as declared

    settings = Settings()
    if what == "acls":
        return _acls(settings, json=json)
    layout = TopicLayout(settings.kafka.topic_prefix, settings.kafka.partitions, settings.kafka.replication)

    async def main() -> tuple[list[str], Any]:
        async with reached_parts(settings, process.say) as endpoints:
            created: list[str] = []
            if what is None:
                created = await ensure_topics(endpoints.kafka, declared.everything(), layout)
            return created, await topic_drift(endpoints.kafka, declared.everything(), layout)

    created, drift = asyncio.run(main())
    rows = [_topic_row(topic, layout, created, drift) for topic in declared.everything()]
    if json:
        print(jsonlib.dumps({"ok": not drift, "topics": rows}))
    else:
        for row in rows:
            wrong = "; ".join(f"{d['setting']}: expected {d['expected']}, actual {d['actual']}" for d in row["drift"])
            state = "created" if row["created"] else (f"WRONG  {wrong}" if wrong else "ok")
            print(f"{row['name']:<44} {row['partitions']:>3} partitions  {row['audience']:<8} {state}")
            for one in row["drift"]:
                print(f"    to do: {one['remedy']}")
    return 1 if drift else 0


def doctor(*, json: bool) -> int:
    """Check settings, broker, database, store, server; 1 when something is wrong, with what to do."""
    from muniment.server.doctor import examine

    findings = asyncio.run(examine(Settings()))
    if json:
        print(jsonlib.dumps({"ok": all(f["ok"] for f in findings), "checks": findings}))
    else:
        for finding in findings:
            print(f"{'ok  ' if finding['ok'] else 'FAIL'} {finding['check']:<12} {finding['detail']}")
    return 0 if all(finding["ok"] for finding in findings) else 1


def _ready(json: bool) -> Any:
    def ready(url: str) -> None:
        print(jsonlib.dumps({"ready": url}) if json else f"ready {url}", flush=True)

    return ready


def _settings(data_dir: Path | None, http: Address) -> Settings:
    settings = Settings()
    changes: dict[str, Any] = {}
    if data_dir is not None:
        changes["data_dir"] = data_dir
    if http is not None:
        changes["http"] = settings.http.model_copy(update={"host": http[0], "port": http[1]})
    return settings.model_copy(update=changes)


def _acls(settings: Settings, *, json: bool) -> int:
    from muniment.server.topic_acls import acls

    rules = acls(settings.kafka.topic_prefix, settings.kafka.group_prefix)
    if json:
        print(jsonlib.dumps({"acls": [rule.fields() for rule in rules]}))
    else:
        print("\n".join(rule.command() for rule in rules))
    return 0


def _topic_row(topic: Topic, layout: TopicLayout, created: list[str], drift: Any) -> dict[str, Any]:
    name = topic.wire_name(layout.prefix)
    wrong = drift.get(name, {})
    missing = bool(wrong) and all(got is None for _, got in wrong.values())
    return {
        "name": name,
        "summary": topic.summary,
        "partitions": layout.partitions_of(topic),
        "retention_ms": topic.retention_ms,
        "audience": topic.audience,
        "producers": list(topic.producers),
        "consumers": list(topic.consumers),
        "created": name in created,
        "drift": [
            {
                "setting": key,
                "expected": want,
                "actual": got,
                "remedy": "muniment topics" if missing else remedy(name, key, want),
            }
            for key, (want, got) in wrong.items()
        ],
    }
