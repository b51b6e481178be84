"""A topic whose settings are changed on a real broker: the alarm, its one entry, and its end."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

import muniment.audit
import muniment.runtime.delivery as delivery
from muniment.adapters.kafka import KafkaConnection, TopicLayout, ensure_topics, topic_drift
from muniment.adapters.postgres import Schema, migrate, open_pool
from muniment.audit.topic_drift import tell
from muniment.contracts import topics
from muniment.ports.clock import SystemClock
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.metrics import Metrics
from muniment.server.topic_watch import TopicWatch

MIGRATIONS = tuple(Path(module.__path__[0]) / "sql" / "migrations" for module in (delivery, muniment.audit))
WANTED = (topics.AUDIT_LOG, topics.AUDIT_REQUESTED)


async def alter(kafka: KafkaConnection, name: str, settings: dict[str, str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        [answer] = await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=settings)])
        assert [resource[0] for resource in answer.resources] == [0], answer
    finally:
        await admin.close()


async def test_drift_is_an_alarm_with_one_entry_until_it_ends(
    kafka: KafkaConnection, postgres_dsn: str, topic_prefix: str
) -> None:
    layout = TopicLayout(topic_prefix, 3, 1)
    await ensure_topics(kafka, WANTED, layout)
    await migrate(postgres_dsn, [Schema("audit", MIGRATIONS)])
    name = topics.AUDIT_LOG.wire_name(topic_prefix)
    declared = layout.config_of(topics.AUDIT_LOG)
    assert declared["retention.ms"] == declared["retention.bytes"] == "-1"
    assert declared["cleanup.policy"] == "delete"
    pool = await open_pool(postgres_dsn, "audit", max_size=2)
    try:
        transactions = Transactions(pool, "audit", topic_prefix, SystemClock(), lambda: True)

        def watch() -> TopicWatch:
            return TopicWatch(
                [topic.wire_name(topic_prefix) for topic in WANTED],
                lambda: topic_drift(kafka, WANTED, layout),
                partial(tell, transactions),
                Metrics(CollectorRegistry()),
                300,
            )

        async def entries() -> list[dict[str, Any]]:
            return [json.loads(bytes(row["payload"])) for row in await pool.fetch("SELECT * FROM outbox ORDER BY seq")]

        first = watch()
        assert await first.check() == {}
        assert _gauge(first, name) == 0

        await alter(kafka, name, {**declared, "retention.ms": "1000", "cleanup.policy": "compact"})
        with capture_logs() as logs:
            await first.check()
            await first.check()
        lines = {line["setting"]: line for line in logs if line["log_level"] == "error"}
        assert len(logs) == len(lines) == 2  # a second look finds nothing new to say
        told = lines["retention.ms"]
        assert (told["topic"], told["expected"], told["actual"]) == (name, "-1", "1000")
        assert "retention.ms=-1" in told["hint"]
        assert _gauge(first, name) == 2
        second = watch()  # another process, or this one after a restart
        await second.check()
        [entry] = await entries()
        assert (entry["action"], entry["operator"]) == ("audit.topic-drift", "muniment|audit")
        assert entry["resource"] == f"topics/{name}"
        assert {"path": "retention.ms", "before": "-1", "after": "1000"} in entry["changes"]

        await alter(kafka, name, declared)
        assert await second.check() == {}
        assert _gauge(second, name) == 0
        [_, ended] = await entries()
        assert ended["action"] == "audit.topic-drift-ended"
        assert {"path": "retention.ms", "before": "1000", "after": "-1"} in ended["changes"]
    finally:
        await pool.close()


def _gauge(watch: TopicWatch, topic: str) -> float | None:
    return watch.metrics.registry.get_sample_value("muniment_topic_drift", {"topic": topic})
