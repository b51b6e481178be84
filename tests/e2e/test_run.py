"""`muniment run`: five processes do what one does, and one of them may be killed."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from muniment.server.endpoints import endpoints_of
from muniment.server.parts import Parts
from muniment.server.process import parts_environment
from muniment.server.stack import Endpoints
from muniment.server.wiring import NAMES
from tests.conftest import new_database

from .conftest import COMMAND, Server, muniment, run_folder, server

_numbers = itertools.count(1)


class Fleet:
    """Five processes on shared parts."""

    def __init__(self, environment: dict[str, str], folder: Path, stack: AsyncExitStack) -> None:
        self.environment = environment
        self.folder = folder
        self.servers: dict[str, Server] = {}
        self._stack = stack

    async def start(self, name: str, **more: str) -> Server:
        data = str(self.folder / name)
        running = await self._stack.enter_async_context(
            server(
                "run",
                name,
                "--http",
                "127.0.0.1:0",
                log=self.folder / f"{name}.log",
                **{**self.environment, "MUNIMENT_DATA_DIR": data, **more},
            )
        )
        self.servers[name] = running
        return running

    @property
    def client(self) -> dict[str, str]:
        """The environment of a client."""
        urls = ",".join(f"{name}={running.url}" for name, running in self.servers.items())
        token = json.loads((self.folder / "registry" / "credentials.json").read_text())["token"]
        return {"MUNIMENT_URLS": urls, "MUNIMENT_TOKEN": token, "MUNIMENT_URL": self.servers["registry"].url}


@pytest.fixture(scope="module")
async def fleet(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    name = f"e{os.getpid()}-{next(_numbers)}"
    endpoints = endpoints_of(parts)
    fields = {field: getattr(endpoints, field) for field in endpoints.__dataclass_fields__}
    endpoints = Endpoints(**{**fields, "postgres_dsn": await new_database(parts)})
    environment = {
        **parts_environment(endpoints),
        "MUNIMENT_KAFKA__TOPIC_PREFIX": f"{name}.",
        "MUNIMENT_KAFKA__GROUP_PREFIX": f"{name}.",
        "MUNIMENT_KAFKA__PARTITIONS": "2",
        "MUNIMENT_S3__BUCKET": f"models-{name}",
        "MUNIMENT_AUDIT__BUCKET": f"audit-{name}",
        "MUNIMENT_INGEST__LANDING_BUCKETS": json.dumps([f"landing-{name}"]),
    }
    async with AsyncExitStack() as stack:
        fleet = Fleet(environment, tmp_path_factory.mktemp("fleet"), stack)
        for service in NAMES:
            (fleet.folder / service).mkdir()
            await fleet.start(service)
        yield fleet


async def test_five_processes_do_the_same_as_one(fleet: Fleet, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    arguments = (
        "publish",
        str(folder),
        "--model",
        "digits",
        "--param",
        "lr=0.1",
        "--metric",
        "accuracy=0.97",
        "--wait",
    )
    first = await muniment(*arguments, **fleet.client)
    assert (first["number"], first["branch"]) == (1, "main")
    assert await muniment(*arguments, **fleet.client) == first
    entries = await _audited(fleet, first["number"], "digits")
    assert {"publication.accepted", "validation.passed", "version.committed"} <= entries


async def test_killed_at_a_step_and_started_again(fleet: Fleet, tmp_path: Path) -> None:
    """One step, as its users see it; `tests/faults` has all of them."""
    service, step, model = "registry", "registry.manifest-written", "killed"
    await fleet.servers[service].stop()
    doomed = await fleet.start(service, MUNIMENT_STOP_AT=step)
    folder = run_folder(tmp_path / "run", 3_000_000)
    # Without --wait: the process that answers may be the one that is about to die.
    publishing = asyncio.create_task(_publish(fleet, folder, model))
    assert await doomed.ended() == -9, "the step was not reached"
    await fleet.start(service)
    await asyncio.wait([publishing])
    version = await muniment("publish", str(folder), "--model", model, "--wait", **fleet.client)
    assert version["number"] == 1
    versions = await muniment("versions", "ls", model, **fleet.client)
    assert isinstance(versions, dict), f"more than one version: {versions}"
    entries = await _audited(fleet, 1, model)
    assert "version.committed" in entries


async def _publish(fleet: Fleet, folder: Path, model: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "publish", str(folder), "--model", model),
        env={**os.environ, **fleet.client},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    await process.wait()


async def _audited(fleet: Fleet, number: int, model: str) -> set[str]:
    """The actions audited for a model, once its version's commit is; each resource is committed once."""
    async with asyncio.timeout(30):
        while True:
            found = await muniment("audit", "ls", "--model", model, **fleet.client)
            entries = [entry["entry"] for entry in (found if isinstance(found, list) else [found])]
            commits = [e["resource"] for e in entries if e["action"] == "version.committed"]
            if f"models/{model}/versions/{number}" in commits:
                assert len(commits) == len(set(commits))
                return {entry["action"] for entry in entries}
