"""The real parts, started once a run, and what each test gets of its own: a database, a topic prefix, a bucket."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import hypothesis  # imported late, its plug-in can end a run on Python 3.11 in a SystemError
import pytest

from muniment.adapters.kafka import KafkaConnection
from muniment.adapters.postgres import Schema, migrate
from muniment.server.parts import Parts, PartsSettings, start_parts

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def parts_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the parts keep their data. `MUNIMENT_TEST_DATA_DIR` keeps it in a folder of your choice."""
    chosen = os.environ.get("MUNIMENT_TEST_DATA_DIR")
    return Path(chosen) if chosen else tmp_path_factory.mktemp("parts")


@pytest.fixture(scope="session")
async def parts(parts_folder: Path) -> AsyncIterator[Parts]:
    """Kafka, Postgres and S3, embedded."""
    async with start_parts(PartsSettings(data_dir=parts_folder), on_progress=None) as running:
        yield running


@pytest.fixture(scope="session")
def kafka(parts: Parts) -> KafkaConnection:
    """How to reach the broker."""
    return KafkaConnection(parts.kafka.bootstrap)


@pytest.fixture
def topic_prefix() -> str:
    """A prefix that no other test uses, so that tests share a broker and no topic."""
    return f"t{os.getpid()}-{next(_numbers)}."


Migrated = Callable[[Sequence[Schema]], Awaitable[str]]


async def new_database(parts: Parts, template: str | None = None) -> str:
    """A database, empty or a copy of one that nobody is connected to; returns its DSN."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    connection = await asyncpg.connect(parts.postgres.dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name}{f' TEMPLATE {template}' if template else ''}")
    finally:
        await connection.close()
    return parts.postgres.dsn.replace("/muniment?", f"/{name}?")


@pytest.fixture
async def postgres_dsn(parts: Parts) -> str:
    """A database of the test's own, empty."""
    return await new_database(parts)


@pytest.fixture(scope="session")
def migrated(parts: Parts) -> Migrated:
    """`await migrated(schemas)`: the DSN of a database of the caller's own with these schemas. They are migrated once,
    and copied for each: that takes a fifth of the time.
    """
    templates: dict[tuple[Schema, ...], str] = {}

    async def make(schemas: Sequence[Schema]) -> str:
        wanted = tuple(schemas)
        if wanted not in templates:
            dsn = await new_database(parts)
            await migrate(dsn, wanted)
            templates[wanted] = urlsplit(dsn).path.removeprefix("/")
        return await new_database(parts, templates[wanted])

    return make
