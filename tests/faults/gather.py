"""Wait until everything is quiet, then read Kafka, Postgres, the store and the sink into facts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from datetime import datetime
from typing import Any, Self

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from muniment.adapters.minio import MinioBlobStore
from muniment.contracts import topics
from muniment.contracts.errors import NotFound
from muniment.contracts.topics import SERVICES
from muniment.ports.blobs import ListCursor, Location
from muniment.runtime.service import following_group

from .cluster import Cluster
from .facts import Acknowledged, Entry, Facts, Happening, Head, StoredBytes, Version
from .sink import Sink

SCHEMAS = tuple(service.replace("-", "_") for service in SERVICES)


class Watch:
    """Looks at what is not done yet. Clients of its own, around the proxies."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        bootstrap = cluster.parts.kafka.bootstrap
        self._admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        self._consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)

    async def __aenter__(self) -> Self:
        self._connection = await asyncpg.connect(self._cluster.dsn)
        await self._admin.start()
        await self._consumer.start()
        self._partitions = await _partitions(self._cluster, self._admin)
        # Only to know where all partitions are: the client asks for a topic at a time otherwise, and waits after each.
        self._consumer.assign(self._partitions)
        self._consumer.pause(*self._partitions)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()
        await self._admin.close()
        await self._connection.close()

    async def open_work(self) -> dict[str, int]:
        """By name: lag of each group, unsent rows, open jobs, pending deliveries."""
        count = self._connection.fetchval
        found: dict[str, int] = {}
        for schema in SCHEMAS:
            found[f"outbox of {schema}"] = await count(f"SELECT count(*) FROM {schema}.outbox WHERE sent_at IS NULL")
        found["jobs"] = await count("SELECT count(*) FROM checksum_validator.job WHERE finished_at IS NULL")
        found["deliveries"] = await count("SELECT count(*) FROM notifier.delivery WHERE state = 'pending'")
        ends = await self._consumer.end_offsets(self._partitions)
        for service in SERVICES:
            own = f"{self._cluster.prefix}{service}"
            done: dict[TopicPartition, int] = {}
            for group in (own, following_group(own)):
                offsets = await self._admin.list_consumer_group_offsets(group)
                done |= {one: max(done.get(one, 0), offset.offset) for one, offset in offsets.items()}
            read = _consumed(self._cluster, service)
            found[f"lag of {service}"] = sum(
                ends[one] - done.get(one, 0) for one in self._partitions if one.topic in read
            )
        return found


def _consumed(cluster: Cluster, service: str) -> set[str]:
    """The wire names that a service reads: what is declared for it, and its retry topics."""
    mine = [topic for topic in topics.ALL if service in topic.consumers]
    mine += [topics.retry_topic(service, delay) for delay in topics.RETRY_DELAYS_S]
    return {topic.wire_name(cluster.prefix) for topic in mine}


async def _partitions(cluster: Cluster, admin: AIOKafkaAdminClient) -> list[TopicPartition]:
    names = [name for name in await admin.list_topics() if name.startswith(cluster.prefix)]
    described = await admin.describe_topics(names)
    return [TopicPartition(topic["topic"], one["partition"]) for topic in described for one in topic["partitions"]]


async def quiet(cluster: Cluster, patience: float) -> dict[str, int]:
    """Wait until nothing is open, for `patience` seconds at most; what still is.

    Queues are read one after another, and work may pass from one that is to be read to one that has been: so nothing
    has to be open twice in a row.
    """
    ends, before = time.monotonic() + patience, False
    async with Watch(cluster) as watch:
        while True:
            found = await watch.open_work()
            calm = not any(found.values())
            if (calm and before) or time.monotonic() > ends:
                return found
            before = calm
            await asyncio.sleep(0.1)


async def gather(cluster: Cluster, acknowledged: list[Acknowledged], sink: Sink, *, patience: float) -> Facts:
    """The facts of the run, once it is quiet or patience has ended."""
    unsettled = await quiet(cluster, patience)
    facts = Facts(acknowledged=list(acknowledged), unsettled=unsettled, calls=list(sink.calls))
    await _read_topics(cluster, facts)
    connection = await asyncpg.connect(cluster.dsn)
    blobs = cluster.blobs()
    try:
        await _read_database(facts, connection)
        await _read_store(cluster, facts, connection, blobs)
    finally:
        await connection.close()
        await blobs.aclose()
    facts.history += [
        Happening(call.correlation, f"webhook {call.webhook_id} event {call.event} answered {call.status}")
        for call in facts.calls
    ]
    return facts


async def _read_topics(cluster: Cluster, facts: Facts) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.parts.kafka.bootstrap)
    consumer = AIOKafkaConsumer(bootstrap_servers=cluster.parts.kafka.bootstrap, auto_offset_reset="earliest")
    await admin.start()
    await consumer.start()
    try:
        partitions = await _partitions(cluster, admin)
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.seek_to_beginning()
        while any([await consumer.position(one) < ends[one] for one in partitions]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    _take(facts, record, record.topic.removeprefix(cluster.prefix))
    finally:
        await consumer.stop()
        await admin.close()


def _take(facts: Facts, record: Any, topic: str) -> None:
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    flow, event = headers.get("ce_correlationid", ""), headers.get("ce_id", "")
    facts.history.append(Happening(flow, f"{topic}/{record.partition}/{record.offset} event {event}"))
    if topic in {"version-available.v1", "model-rejected.v1"}:
        facts.announced[event] = flow
    if topic == "model-rejected.v1":
        facts.rejected[flow] = json.loads(record.value)["code"]


async def _read_database(facts: Facts, connection: asyncpg.Connection[Any]) -> None:
    for schema in SCHEMAS:
        for row in await connection.fetch(f"SELECT value_sha256, code, topic FROM {schema}.dead_letter"):
            facts.dead.append(row["value_sha256"])
            facts.history.append(Happening(row["value_sha256"], f"dead letter of {schema}: {row['code']}"))
        facts.requested += [
            str(row["id"])
            for row in await connection.fetch(
                f"SELECT id FROM {schema}.outbox WHERE type = 'muniment.audit-requested.v1'"
            )
        ]
    for row in await connection.fetch(
        "SELECT publication_id, name, number, version.id FROM registry.version "
        "JOIN registry.model ON model.id = model_id ORDER BY model_id, number"
    ):
        flow = str(row["publication_id"])
        facts.versions.append(Version(flow, row["name"], row["number"], row["id"]))
        facts.history.append(Happening(flow, f"row: version {row['name']}/{row['number']} {row['id']}"))
    for row in await connection.fetch(
        "SELECT index, event_id, data, root_hash, correlation, action FROM audit.entry ORDER BY index"
    ):
        facts.entries.append(Entry(row["index"], row["event_id"], row["data"], row["root_hash"]))
        facts.history.append(Happening(row["correlation"] or "", f"audit {row['index']}: {row['action']}"))
    facts.heads = [Head(row["size"], row["root"]) for row in await connection.fetch("SELECT * FROM audit.tree_head")]
    for row in await connection.fetch("SELECT id, stage FROM ingest.publication"):
        facts.history.append(Happening(str(row["id"]), f"row: publication is {row['stage']}"))


async def _read_store(
    cluster: Cluster, facts: Facts, connection: asyncpg.Connection[Any], blobs: MinioBlobStore
) -> None:
    rows = await connection.fetch(
        "SELECT bucket, key, version_id, sha256, locked_until FROM registry.stored_object UNION ALL "
        "SELECT manifest_bucket, manifest_key, manifest_version_id, encode(sha256(manifest), 'hex'), "
        "manifest_locked_until FROM registry.version"
    )
    slots = asyncio.Semaphore(8)

    async def stored(place: Location, row: asyncpg.Record) -> StoredBytes:
        async with slots:
            return await _stored(blobs, place, row["sha256"], row["locked_until"])

    places = [Location(row["bucket"], row["key"], row["version_id"]) for row in rows]
    facts.stored = await asyncio.gather(*map(stored, places, rows))
    kept = set(places)
    after: ListCursor | None = None
    while True:
        page = await blobs.list_versions(cluster.bucket, after=after)
        for item in page.items:
            place = Location(item.bucket, item.key, item.version_id)
            ours = place in kept or item.is_delete_marker or item.key == "muniment/bucket"
            if not ours and await blobs.retention(place) is not None:
                facts.locked_strangers.append(str(place))
        if (after := page.next) is None:
            return


async def _stored(blobs: MinioBlobStore, place: Location, sha256: str, promised: datetime) -> StoredBytes:
    digest = hashlib.sha256()

    def read() -> None:
        with blobs.open(place) as reader:
            for chunk in reader.read_chunks():
                digest.update(chunk)

    try:
        await asyncio.to_thread(read)
    except NotFound:
        return StoredBytes(str(place), sha256, None, promised, None)
    lock = await blobs.retention(place)
    return StoredBytes(str(place), sha256, digest.hexdigest(), promised, lock.until if lock else None)
