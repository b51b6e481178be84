"""What holds while the embedded parts run."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from minio import Minio
from minio.error import S3Error

from muniment.server.parts import PartError, Parts, PartsSettings, start_parts

POSTGRES = {
    "fsync": "on",
    "full_page_writes": "on",
    "listen_addresses": "",
    "max_connections": "200",
    "server_encoding": "UTF8",
    "shared_preload_libraries": "pg_stat_statements",
    "synchronous_commit": "on",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts") / "data dir ä"


@pytest.fixture(scope="module")
def settings(folder: Path) -> PartsSettings:
    return PartsSettings(data_dir=folder)


@pytest.fixture(scope="module")
async def parts(settings: PartsSettings) -> AsyncIterator[Parts]:
    async with start_parts(settings) as parts:
        yield parts


def test_each_part_says_how_long_it_took(parts: Parts) -> None:
    assert set(parts.timings) == {"kafka", "postgres", "s3"}
    assert all(seconds > 0 for seconds in parts.timings.values())


def test_nothing_listens_beyond_this_machine(parts: Parts) -> None:
    listening = {address for pid in parts.pids.values() for address in listening_addresses(pid)}
    assert len(listening) >= 10  # two of Kafka's, eight of the store's
    assert {host for host, _ in listening} == {"127.0.0.1"}


async def test_a_second_start_on_the_same_folder_is_refused(parts: Parts, settings: PartsSettings) -> None:
    with pytest.raises(PartError, match=f"process {os.getpid()} already runs"):
        async with start_parts(settings):
            pass


def test_the_store_lets_nobody_in_without_the_keys(parts: Parts, folder: Path) -> None:
    stranger = Minio(
        parts.s3.endpoint.removeprefix("http://"), "stranger", "secretsecret", secure=False, region="us-east-1"
    )
    with pytest.raises(S3Error):
        stranger.list_buckets()
    assert stat.S_IMODE((folder / "s3" / "identity.json").stat().st_mode) == 0o600


def test_others_cannot_look_into_the_folder(parts: Parts, folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) & 0o066 == 0


async def test_topics_are_not_made_by_asking_for_them(parts: Parts) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=parts.kafka.bootstrap)
    await admin.start()
    described = await admin.describe_topics(["never-made"])
    topics = await admin.list_topics()
    await admin.close()
    assert described[0]["error_code"] == 3  # UNKNOWN_TOPIC_OR_PARTITION
    assert "never-made" not in topics


async def test_postgres_keeps_what_it_acknowledged(parts: Parts) -> None:
    connection = await asyncpg.connect(parts.postgres.dsn)
    rows = await connection.fetch("SELECT name, setting FROM pg_settings WHERE name = ANY($1)", list(POSTGRES))
    await connection.close()
    assert {row["name"]: row["setting"] for row in rows} == POSTGRES


def listening_addresses(pid: int) -> Iterator[tuple[str, int]]:
    """The TCP addresses a process listens on, as Linux' /proc tells."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(str(link.readlink()))
        except OSError:
            continue  # closed meanwhile
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                host, _, port = fields[1].partition(":")
                yield readable(host), int(port, 16)


def readable(host: str) -> str:
    """A kernel table's address: words of four bytes, each in the machine's byte order; IPv4 in IPv6 as IPv4."""
    raw = b"".join(bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8))
    if len(raw) == 16 and raw.startswith(bytes(10) + b"\xff\xff"):
        raw = raw[12:]
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)
