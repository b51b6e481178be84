"""Embedded Kafka: Apache Kafka itself in KRaft mode, broker and controller in one Java process."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from muniment.server.parts.datadir import DataDir
from muniment.server.parts.endpoints import KafkaEndpoint
from muniment.server.parts.java import java_program, kafka_jars
from muniment.server.parts.process import Command, Guard, Process, plain_environment
from muniment.server.parts.settings import KafkaSettings

PART = "kafka"
START_SECONDS = 90.0  # after a crash every log is read again
JVM = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xms64m",
    "-Xmx384m",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
)
# Java warns at each start about a method that Kafka needs; this says that we know
QUIET = ("--sun-misc-unsafe-memory-access=allow",)


@asynccontextmanager
async def run_kafka(
    settings: KafkaSettings, data: DataDir, guard: Guard, on_progress: Callable[[str], None]
) -> AsyncIterator[tuple[KafkaEndpoint, Process]]:
    """Run one broker on `data`; topics and records survive from run to run.

    Raises `PartError`.
    """
    java = java_program()
    jars = await kafka_jars(settings.maven_repository, on_progress)
    folder = data.part(PART)
    ports = data.ports(PART, broker=settings.port, controller=None)
    properties = folder / "server.properties"
    properties.write_text(server_properties(folder / "data", ports["broker"], ports["controller"]))

    def command(name: str, main: str, *arguments: str | Path) -> Command:
        argv = [java, *JVM, *QUIET, "-cp", os.pathsep.join(map(str, jars)), main, *arguments]
        environment = plain_environment(HOME=str(folder))
        return Command(name, argv, data.log(PART), folder, environment, signal.SIGTERM, grace=15.0)

    # The format tool writes this file last: without it there is nothing of value in the folder
    if not (folder / "data" / "meta.properties").exists():
        on_progress("kafka: formatting the log folder")
        shutil.rmtree(folder / "data", ignore_errors=True)
        format_arguments = ("format", "--cluster-id", cluster_id(), "--config", properties)
        await guard.run(command(f"{PART}-format", "kafka.tools.StorageTool", *format_arguments), timeout=60)
    process = await guard.spawn(command(PART, "kafka.Kafka", properties))
    try:
        await process.until(lambda: broker_answers(ports["broker"]), timeout=START_SECONDS)
        yield KafkaEndpoint(bootstrap=f"127.0.0.1:{ports['broker']}"), process
    finally:
        await guard.stop(process)


def server_properties(log_dir: Path, broker: int, controller: int) -> str:
    """Kafka's configuration, written anew at each start because the ports may have changed.

    The quorum is the static kind: its one voter's address comes from here and not from what was formatted.
    """
    values = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{broker}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": log_dir,
        "auto.create.topics.enable": "false",
        "num.partitions": 4,
        "default.replication.factor": 1,
        "min.insync.replicas": 1,
        # After a crash the controller takes the broker back only when its old session has run out: 9 s by default
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
        "message.max.bytes": 4 * 2**20,
        "replica.fetch.max.bytes": 4 * 2**20,
        "group.initial.rebalance.delay.ms": 0,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        # an embedded stack may lie still for weeks; its groups go on where they were
        "offsets.retention.minutes": 60 * 24 * 365,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "log.cleaner.dedupe.buffer.size": 8 * 2**20,  # 128 MiB of heap otherwise
    }
    return "".join(f"{name}={_escaped(str(value))}\n" for name, value in values.items())


def _escaped(value: str) -> str:
    """A value for a Java properties file: what is not plain ASCII goes in as UTF-16 escapes."""
    units = value.encode("utf-16-be")
    codes = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return "".join(chr(code) if 0x20 < code < 0x7F and code != ord("\\") else f"\\u{code:04x}" for code in codes)


def cluster_id() -> str:
    """A new cluster id: 16 random bytes in URL-safe base64. The first bit is 0, or some would begin with a dash, which
    the format tool takes for an option.
    """
    first, *others = secrets.token_bytes(16)
    return base64.urlsafe_b64encode(bytes([first & 0x7F, *others])).decode().rstrip("=")


async def broker_answers(port: int) -> bool:
    """Whether the broker on 127.0.0.1 answers a metadata request and has a group coordinator (the first question makes
    one).
    """
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    await writer.wait_closed()
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}", request_timeout_ms=3000)
    try:
        await admin.start()
        await admin.find_coordinator("muniment-readiness")
    except (KafkaError, TimeoutError):
        return False
    finally:
        await admin.close()
    return True
