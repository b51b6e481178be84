"""The registry as its users run it: `muniment up` in a process of its own, on a data folder that is thrown away."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

from muniment.adapters.kafka import KafkaConnection
from muniment.adapters.minio import MinioBlobStore, S3Options
from muniment.server.endpoints import endpoints_of
from muniment.server.parts import PartsSettings, start_parts
from muniment.server.process import parts_environment
from muniment.server.stack import Endpoints

from .usage import family

COMMAND = (sys.executable, "-m", "muniment.cli")
LANDING = "muniment-landing"
BUCKET = "muniment-models"


@dataclass
class Stack:
    """A running stack. `start_s` is from the start of the command to `ready`."""

    process: asyncio.subprocess.Process
    url: str
    token: str
    folder: Path
    endpoints: Endpoints
    start_s: float
    parts: dict[str, list[psutil.Process]] = field(default_factory=dict)

    @property
    def services(self) -> list[psutil.Process]:
        """The process that runs all services."""
        return self.parts["services"]

    @property
    def environment(self) -> dict[str, str]:
        """For a client process."""
        return {**clean_environment(), "MUNIMENT_URL": self.url, "MUNIMENT_TOKEN": self.token}

    def blobs(self, threads: int = 16) -> MinioBlobStore:
        """A client of the store with the services' own rights; close it."""
        return MinioBlobStore(
            S3Options(
                endpoint=self.endpoints.s3_endpoint,
                access_key=self.endpoints.s3_access_key,
                secret_key=self.endpoints.s3_secret_key,
                region=self.endpoints.s3_region,
                threads=threads,
            )
        )

    async def metrics(self) -> dict[str, float]:
        """The services' own metrics: `name{label="value",...}` -> value."""
        return await _metrics(f"{self.url}/metrics", {"authorization": f"Bearer {self.token}"})

    async def s3_calls(self) -> float:
        """Requests that the store's gateway has answered until now, of every kind."""
        port = json.loads((self.folder / "ports.json").read_text())["s3.metrics"]
        found = await _metrics(f"http://127.0.0.1:{port}/metrics", {})
        return sum(value for name, value in found.items() if name.startswith("SeaweedFS_s3_request_total{"))


async def _metrics(url: str, headers: dict[str, str]) -> dict[str, float]:
    import httpx2

    async with httpx2.AsyncClient(timeout=30) as http:
        answer = await http.get(url, headers=headers)
        answer.raise_for_status()
    found: dict[str, float] = {}
    for metric in text_string_to_metric_families(answer.text):
        for sample in metric.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


@asynccontextmanager
async def running(folder: Path | None = None, **environment: str) -> AsyncIterator[Stack]:
    """Start a stack on `folder` (which is kept) or on one of its own (which is not), with more settings."""
    with tempfile.TemporaryDirectory(prefix="muniment-bench-") as own:
        data = (folder or Path(own)) / "data"
        began = time.perf_counter()
        command = ("up", "--data-dir", str(data), "--http", "127.0.0.1:0")
        async with _process(command, Path(own) / "services.log", environment) as (process, url):
            start_s = time.perf_counter() - began
            yield Stack(process, url, _token(data), data, _endpoints(data), start_s, family(process.pid))


@asynccontextmanager
async def running_services(services: Sequence[str], **environment: str) -> AsyncIterator[Stack]:
    """The same with these services alone, in one process; the parts are started by this one."""
    with tempfile.TemporaryDirectory(prefix="muniment-bench-") as own:
        data = Path(own) / "data"
        began = time.perf_counter()
        async with start_parts(PartsSettings(data_dir=data), on_progress=None) as parts:
            endpoints = endpoints_of(parts)
            settings = {
                **parts_environment(endpoints),
                "MUNIMENT_DATA_DIR": str(data),
                "MUNIMENT_INGEST__ALLOW_UNSIGNED": "true",
                "MUNIMENT_INGEST__LANDING_BUCKETS": json.dumps([LANDING]),
                **environment,
            }
            command = ("run", *services, "--http", "127.0.0.1:0")
            async with _process(command, Path(own) / "services.log", settings) as (process, url):
                start_s = time.perf_counter() - began
                found = {**family(os.getpid()), **family(process.pid)}
                yield Stack(process, url, _token(data), data, endpoints, start_s, found)


def _token(data: Path) -> str:
    return str(json.loads((data / "credentials.json").read_text())["token"])


@asynccontextmanager
async def _process(
    command: Sequence[str], log: Path, environment: Mapping[str, str]
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The command as a process, once it is ready, and its URL; ended in order."""
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(*COMMAND, *command),
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={
                **clean_environment(),
                "MUNIMENT_LOG_FORMAT": "json",
                "MUNIMENT_LOG_LEVEL": "warning",
                **environment,
            },
        )
    try:
        yield process, await _ready(process, log)
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(60):
            await process.wait()
        if text := log.read_text(errors="replace").strip():
            print("\n".join(f"# log: {line[:400]}" for line in text.splitlines()[-20:]), file=sys.stderr)


async def _ready(process: asyncio.subprocess.Process, log: Path) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(180):
        while line := await process.stdout.readline():
            if line.startswith(b"ready "):
                return line.split()[1].decode()
    raise RuntimeError(f"muniment up ended with {await process.wait()}:\n{log.read_text()[-3000:]}")


def _endpoints(data: Path) -> Endpoints:
    values: dict[str, Any] = dict(line.split("=", 1) for line in (data / "parts.env").read_text().splitlines())
    return Endpoints(
        kafka=KafkaConnection(values["MUNIMENT_KAFKA__BOOTSTRAP"]),
        postgres_dsn=values["MUNIMENT_POSTGRES__DSN"],
        s3_endpoint=values["MUNIMENT_S3__ENDPOINT"],
        s3_access_key=values["MUNIMENT_S3__ACCESS_KEY"],
        s3_secret_key=values["MUNIMENT_S3__SECRET_KEY"],
        s3_region=values["MUNIMENT_S3__REGION"],
    )


def end_in_order() -> None:
    """Make SIGTERM what Ctrl-C is: what a benchmark has started is ended before it ends."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of Muniment, and with bytecode kept as any installation keeps it.

    Without bytecode every start compiles all libraries anew, which takes longer than the start itself.
    """
    left_out = ("MUNIMENT_", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
