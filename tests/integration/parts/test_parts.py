"""The three embedded parts as they are: real Kafka, real Postgres, real SeaweedFS, all on one data folder."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from minio import Minio

from muniment.server.parts import PartError, PartsSettings, start_parts

Alive = Callable[[int], bool]
Until = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts") / "data dir ä"


@pytest.fixture(scope="module")
def settings(folder: Path) -> PartsSettings:
    return PartsSettings(data_dir=folder)


@dataclass
class Server:
    """The parts as a process of their own: `python -m muniment.server.parts`."""

    process: subprocess.Popen[str]
    endpoints: dict[str, Any]

    @property
    def pids(self) -> list[int]:
        return list(self.endpoints["pids"].values())


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[Server]:
    process = await asyncio.to_thread(start_server, folder)
    assert process.stdout is not None
    try:
        line = await asyncio.to_thread(process.stdout.readline)
        yield Server(process, json.loads(line))
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def start_server(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "muniment.server.parts", "--data-dir", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def store(parts: Any) -> Minio:
    host = parts.s3.endpoint.removeprefix("http://")
    return Minio(host, parts.s3.access_key, parts.s3.secret_key, secure=False, region=parts.s3.region)


async def write(parts: Any, mark: bytes) -> None:
    """One acknowledged record, row and object."""
    admin = AIOKafkaAdminClient(bootstrap_servers=parts.kafka.bootstrap)
    await admin.start()
    if "kept" not in await admin.list_topics():
        await admin.create_topics([NewTopic("kept", num_partitions=1, replication_factor=1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=parts.kafka.bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    await producer.send_and_wait("kept", mark)
    await producer.stop()

    connection = await asyncpg.connect(parts.postgres.dsn)
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (mark bytea)")
    await connection.execute("INSERT INTO kept VALUES ($1)", mark)
    await connection.close()

    client = store(parts)
    if not client.bucket_exists(bucket_name="kept"):
        client.make_bucket(bucket_name="kept", object_lock=True)
    client.put_object(bucket_name="kept", object_name=mark.hex(), data=io.BytesIO(mark), length=len(mark))


async def read(parts: Any) -> tuple[set[bytes], set[bytes], set[bytes]]:
    """All records, rows and objects."""
    partition = TopicPartition("kept", 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=parts.kafka.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([partition])
    end = (await consumer.end_offsets([partition]))[partition]
    records: set[bytes] = set()
    async with asyncio.timeout(30):
        while await consumer.position(partition) < end:
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records |= {record.value for record in batch if record.value is not None}
    await consumer.stop()

    connection = await asyncpg.connect(parts.postgres.dsn)
    rows = {row["mark"] for row in await connection.fetch("SELECT mark FROM kept")}
    await connection.close()

    client = store(parts)
    names = [found.object_name for found in client.list_objects(bucket_name="kept")]
    objects = {fetched(client, name) for name in names if name is not None}
    return records, rows, objects


def fetched(client: Minio, name: str) -> bytes:
    response = client.get_object(bucket_name="kept", object_name=name)
    try:
        return response.read()
    finally:
        response.close()
        response.release_conn()


def as_parts(endpoints: dict[str, Any]) -> Any:
    return SimpleNamespace(**{name: SimpleNamespace(**endpoints[name]) for name in ("kafka", "postgres", "s3")})


async def test_a_restart_finds_everything_as_it_was(settings: PartsSettings) -> None:
    async with start_parts(settings) as parts:
        await write(parts, b"before the stop")
        before = await read(parts)
    async with start_parts(settings) as again:
        assert (again.kafka, again.s3) == (parts.kafka, parts.s3)
        assert again.postgres.dsn == parts.postgres.dsn
        assert await read(again) == before
        assert all(b"before the stop" in kept for kept in before)


async def test_a_restart_on_other_ports_finds_everything_as_it_was(settings: PartsSettings, folder: Path) -> None:
    async with start_parts(settings) as parts:
        await write(parts, b"before the move")
    (folder / "ports.json").unlink()
    async with start_parts(settings) as moved:
        assert moved.kafka.bootstrap != parts.kafka.bootstrap
        assert all(b"before the move" in kept for kept in await read(moved))
        await write(moved, b"after the move")
        assert all(b"after the move" in kept for kept in await read(moved))


async def test_a_killed_server_leaves_no_process_and_loses_nothing(
    server: Server, settings: PartsSettings, alive: Alive
) -> None:
    await write(as_parts(server.endpoints), b"before the kill")
    server.process.kill()
    server.process.wait()
    async with start_parts(settings) as parts:
        assert not [pid for pid in server.pids if alive(pid)]
        assert all(b"before the kill" in kept for kept in await read(parts))


async def test_parts_that_are_all_killed_at_once_lose_nothing(
    server: Server, settings: PartsSettings, alive: Alive, until: Until
) -> None:
    await write(as_parts(server.endpoints), b"before the blackout")
    for pid in (*server.pids, server.process.pid):
        os.kill(pid, signal.SIGKILL)
    server.process.wait()
    await until(lambda: not any(alive(pid) for pid in server.pids))
    async with start_parts(settings) as parts:
        assert all(b"before the blackout" in kept for kept in await read(parts))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_told_server_stops_its_parts_as_they_want_to_be(
    server: Server, folder: Path, alive: Alive, number: signal.Signals
) -> None:
    server.process.send_signal(number)
    assert await asyncio.to_thread(server.process.wait, 40) == 0
    assert not [pid for pid in server.pids if alive(pid)]
    assert (folder / "logs" / "postgres.log").read_text().rstrip().endswith("database system is shut down")
    assert (folder / "kafka" / "data" / ".kafka_cleanshutdown").exists()


@pytest.mark.parametrize("part", ["kafka", "postgres", "s3"])
async def test_a_part_that_dies_is_noticed(settings: PartsSettings, part: str) -> None:
    async with start_parts(settings) as parts:
        os.kill(parts.pids[part], signal.SIGKILL)
        failure = await asyncio.wait_for(parts.wait_failed(), 30)
    assert (failure.part, failure.code, failure.actual) == (part, "part_exited", "ended by SIGKILL")


@pytest.mark.parametrize("moment", ["kafka: formatting", "postgres: creating"])
async def test_a_first_start_that_is_given_up_midway_is_no_obstacle_to_the_next(tmp_path: Path, moment: str) -> None:
    settings = PartsSettings(data_dir=tmp_path / "data")

    async def start() -> None:
        async with start_parts(settings, on_progress=give_up):
            raise AssertionError("it was to be cancelled before")

    def give_up(line: str) -> None:
        if line.startswith(moment):
            starting.cancel()

    starting = asyncio.create_task(start())
    with pytest.raises(asyncio.CancelledError):
        await starting
    async with start_parts(settings) as parts:
        await write(parts, b"after all")
        assert await read(parts) == ({b"after all"},) * 3


async def test_one_part_that_cannot_start_stops_the_others(settings: PartsSettings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        kafka = settings.kafka.model_copy(update={"port": taken.getsockname()[1]})
        with pytest.raises(PartError, match="MUNIMENT_KAFKA__PORT"):
            async with start_parts(settings.model_copy(update={"kafka": kafka})):
                pass
    async with start_parts(settings) as parts:
        assert set(parts.pids) == {"kafka", "postgres", "s3"}
