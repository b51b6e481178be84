"""Kafka by aiokafka: connection settings, the publisher behind every relay, and the topics."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from muniment.contracts.errors import Misconfigured, Transient
from muniment.contracts.topics import Topic

log = structlog.get_logger(__name__)

MAX_RECORD: Final = 2 * 1024 * 1024
"""Bytes of a record at most, on our topics and in our producers."""
_DEADLINE_S: Final = 30.0
PARTITIONS: Final = "partitions"
REPLICATION: Final = "replication.factor"

Drift = Mapping[str, Mapping[str, tuple[str, str | None]]]
"""Topics whose settings differ from what must hold: topic -> setting -> (expected, actual); None: there is no topic."""


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """How to reach the broker. TLS is decided by `security_protocol` alone: never silently off."""

    bootstrap: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    cafile: Path | None = None

    def options(self) -> dict[str, Any]:
        """As aiokafka's clients take it."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": self.security_protocol,
            "client_id": "muniment",
        }
        if self.security_protocol != "PLAINTEXT":
            options["ssl_context"] = self.ssl_context()
        if self.sasl_mechanism is not None:
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.username
            options["sasl_plain_password"] = self.password
        return options

    def ssl_context(self) -> ssl.SSLContext:
        """Verifies the broker's certificate and name."""
        return ssl.create_default_context(cafile=str(self.cafile) if self.cafile else None)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be published."""

    topic: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


class KafkaPublisher:
    """An idempotent producer (`acks=all`) that is replaced after any failure.

    `publish` returns how many records, from the first on, are durable on all in-sync replicas. Records after the first
    failure may be durable too: whoever sends them again relies on consumers that know their ids.
    """

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._producer: AIOKafkaProducer | None = None
        self._opening = asyncio.Lock()

    async def publish(self, records: Sequence[Outgoing]) -> int:
        """Send all, in order. Raises `Transient` (`broker_unavailable`) when not even the first is surely durable."""
        producer = await self._open()
        try:
            async with asyncio.timeout(_DEADLINE_S):
                futures = [
                    await producer.send(record.topic, value=record.value, key=record.key, headers=record.headers)
                    for record in records
                ]
                results = await asyncio.gather(*futures, return_exceptions=True)
        except (KafkaError, TimeoutError, OSError) as error:
            await self._discard(producer)
            raise Transient("broker_unavailable", f"Kafka did not take the records: {error!r}") from error
        for position, result in enumerate(results):
            if isinstance(result, BaseException):
                # The outcome of this one is unknown; a producer that has seen a fatal error never recovers.
                await self._discard(producer)
                if position == 0:
                    raise Transient("broker_unavailable", f"Kafka did not take a record: {result!r}") from result
                return position
        return len(results)

    async def close(self) -> None:
        """Stop the producer, without waiting for a broker that is gone."""
        if self._producer is not None:
            await self._discard(self._producer)

    async def _open(self) -> AIOKafkaProducer:
        async with self._opening:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._connection.options(),
                    acks="all",
                    enable_idempotence=True,
                    max_request_size=MAX_RECORD,
                    max_batch_size=256 * 1024,
                    request_timeout_ms=10_000,
                )
                try:
                    async with asyncio.timeout(_DEADLINE_S):
                        await producer.start()
                except (KafkaError, TimeoutError, OSError) as error:
                    await _stop(producer)
                    raise Transient("broker_unavailable", f"Kafka does not answer: {error!r}") from error
                self._producer = producer
            return self._producer

    async def _discard(self, producer: AIOKafkaProducer) -> None:
        if self._producer is producer:
            self._producer = None
        await _stop(producer)


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(5):  # its own stop() waits for ever for a broker that is gone
            await producer.stop()
    except (KafkaError, TimeoutError, OSError) as error:
        log.info("producer did not stop cleanly", error=repr(error)[:200])


@dataclass(frozen=True, slots=True)
class TopicLayout:
    """How topics are made on this cluster."""

    prefix: str
    partitions: int
    replication: int

    def partitions_of(self, topic: Topic) -> int:
        """Partitions of one topic: its own number, or the setting."""
        return topic.partitions or self.partitions

    def config_of(self, topic: Topic) -> dict[str, str]:
        """The settings of one topic that must hold."""
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(topic.retention_ms),
            "retention.bytes": "-1",
            "max.message.bytes": str(MAX_RECORD),
            "min.insync.replicas": str(max(1, self.replication - 1)),
        }

    def demands_of(self, topic: Topic) -> dict[str, str]:
        """What is held against the topic there is: its settings; the partitions, where it must have a number of its
        own; and on a cluster with replicas the copies, of which one broker cannot have several.
        """
        demands = self.config_of(topic)
        if topic.partitions is not None:
            demands[PARTITIONS] = str(topic.partitions)
        if self.replication == 1:
            del demands["min.insync.replicas"]
        else:
            demands[REPLICATION] = str(self.replication)
        return demands


async def ensure_topics(connection: KafkaConnection, topics: Sequence[Topic], layout: TopicLayout) -> list[str]:
    """Create the topics that are missing; returns their names. Waits up to 60 s for a broker that starts."""
    admin = AIOKafkaAdminClient(**connection.options(), request_timeout_ms=15_000)
    try:
        await _started(admin)
        existing = set(await admin.list_topics())
        missing = [topic for topic in topics if topic.wire_name(layout.prefix) not in existing]
        if not missing:
            return []
        answer = await admin.create_topics(
            [
                NewTopic(
                    name=topic.wire_name(layout.prefix),
                    num_partitions=layout.partitions_of(topic),
                    replication_factor=layout.replication,
                    topic_configs=layout.config_of(topic),
                )
                for topic in missing
            ]
        )
        for name, code, *detail in answer.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise Misconfigured(
                    "topic_not_created",
                    f"the topic {name} could not be made: {error.__name__} {detail[0] if detail else ''}",
                    hint="create it by hand (muniment topics --json lists all), or let this principal create topics",
                )
        created = [topic.wire_name(layout.prefix) for topic in missing]
        await _until_led(admin, created)
        return created
    except (KafkaError, OSError, TimeoutError) as error:
        raise Transient("broker_unavailable", f"Kafka does not answer: {error!r}") from error
    finally:
        await admin.close()


async def _until_led(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """Wait until every partition of new topics has a leader: before that, clients log errors and back off."""
    for _ in range(100):
        described = await admin.describe_topics(list(names))
        if all(
            topic["error_code"] == 0 and all(partition["leader"] >= 0 for partition in topic["partitions"])
            for topic in described
        ):
            return
        await asyncio.sleep(0.05)


async def topic_drift(connection: KafkaConnection, topics: Sequence[Topic], layout: TopicLayout) -> Drift:
    """Topics whose settings differ from what must hold. Of a missing one all do.

    Raises `Transient` (`broker_unavailable`).
    """
    admin = AIOKafkaAdminClient(**connection.options(), request_timeout_ms=15_000)
    try:
        await _started(admin)
        existing = set(await admin.list_topics())
        names = {topic.wire_name(layout.prefix): topic for topic in topics}
        present = [name for name in names if name in existing]
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in present]
        actual: dict[str, dict[str, str]] = {}
        for response in await admin.describe_configs(resources) if resources else []:
            for resource in response.resources:
                actual[resource[3]] = {entry[0]: entry[1] for entry in resource[4]}
        for described in await admin.describe_topics(present) if present else []:
            partitions = described["partitions"]
            settings = actual.setdefault(described["topic"], {})
            settings[PARTITIONS] = str(len(partitions))
            settings[REPLICATION] = str(min((len(partition["replicas"]) for partition in partitions), default=0))
    except (KafkaError, OSError, TimeoutError) as error:
        raise Transient("broker_unavailable", f"Kafka does not answer: {error!r}") from error
    finally:
        await admin.close()
    drift: dict[str, dict[str, tuple[str, str | None]]] = {}
    for name, topic in names.items():
        found = actual.get(name, {})
        demands = layout.demands_of(topic)
        wrong = {key: (want, found.get(key)) for key, want in demands.items() if not _holds(key, want, found.get(key))}
        if wrong:
            drift[name] = wrong
    return drift


def _holds(setting: str, expected: str, actual: str | None) -> bool:
    """Whether a setting is as it must be. More copies than asked for are no fault."""
    if setting == REPLICATION and actual is not None:
        return int(actual) >= int(expected)
    return actual == expected


async def ping(connection: KafkaConnection) -> None:
    """Ask the cluster for its state. Raises `Transient` (`broker_unavailable`)."""
    admin = AIOKafkaAdminClient(**connection.options(), request_timeout_ms=2_000)
    try:
        async with asyncio.timeout(2):
            await admin.start()
            await admin.describe_cluster()
    except (KafkaError, OSError, TimeoutError) as error:
        raise Transient("broker_unavailable", f"Kafka does not answer: {error!r}") from error
    finally:
        await admin.close()


async def _started(admin: AIOKafkaAdminClient) -> None:
    deadline = asyncio.get_running_loop().time() + 60
    while True:
        try:
            await admin.start()
        except (KafkaError, OSError):
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.2)
        else:
            return
