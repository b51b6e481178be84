"""MLflow's server in a process of its own, on embedded parts of the same kind as Muniment's."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg
import psutil
from minio import Minio

from muniment.server.parts.datadir import open_data_dir
from muniment.server.parts.endpoints import S3Endpoint
from muniment.server.parts.postgres import run_postgres
from muniment.server.parts.process import start_guard
from muniment.server.parts.s3 import run_s3
from muniment.server.parts.settings import S3Settings

from ..stack import clean_environment

VENV = Path(__file__).parents[3] / ".cache" / "peers" / "venv"
PYTHON = VENV / "bin" / "python"
BUCKET = "mlflow"
DATABASE = "mlflow"


@dataclass(frozen=True)
class Parts:
    """What the server stands on. `database` is a URL as SQLAlchemy reads it."""

    folder: Path
    database: str
    s3: S3Endpoint

    def client(self) -> Minio:
        """A plain client of the store."""
        place = urlsplit(self.s3.endpoint).netloc
        return Minio(place, self.s3.access_key, self.s3.secret_key, secure=False, region=self.s3.region)

    @property
    def environment(self) -> dict[str, str]:
        """For the server, and for a client that reaches the store directly."""
        return {
            **clean_environment(),
            "MLFLOW_S3_ENDPOINT_URL": self.s3.endpoint,
            "AWS_ACCESS_KEY_ID": self.s3.access_key,
            "AWS_SECRET_ACCESS_KEY": self.s3.secret_key,
            "AWS_DEFAULT_REGION": self.s3.region,
            "DO_NOT_TRACK": "true",  # their switch for usage reports: only loopback is spoken to here
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GIT_PYTHON_REFRESH": "quiet",
        }


@dataclass(frozen=True)
class Server:
    """A running server. `start_s` is from the start of the command to the first 200 of /health."""

    url: str
    parts: Parts
    start_s: float
    pid: int

    @property
    def processes(self) -> list[psutil.Process]:
        """The server and its workers."""
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]


@asynccontextmanager
async def parts(folder: Path) -> AsyncIterator[Parts]:
    """Postgres with a database and S3 with a bucket for the peer, nothing else."""
    async with (
        open_data_dir(folder / "parts", lambda _: None) as data,
        start_guard(data.lock_fd) as guard,
        run_postgres(data, guard, lambda _: None) as (postgres, _),
        run_s3(S3Settings(), data, guard, lambda _: None) as (s3, _),
    ):
        connection = await asyncpg.connect(postgres.dsn)
        try:
            await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()
        sockets = unquote(urlsplit(postgres.dsn).query.removeprefix("host="))
        on = Parts(folder, f"postgresql+psycopg2://postgres@/{DATABASE}?host={sockets}", s3)
        await asyncio.to_thread(on.client().make_bucket, BUCKET)
        yield on


@asynccontextmanager
async def serving(on: Parts) -> AsyncIterator[Server]:
    """`mlflow server` with its defaults: four worker processes, artifacts through its proxy."""
    port = _free_port()
    log = on.folder / "mlflow.log"
    began = time.perf_counter()
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(PYTHON, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", on.database, "--artifacts-destination", f"s3://{BUCKET}/proxied"),
            stdout=output,
            stderr=output,
            env=on.environment,
            cwd=on.folder,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        await _healthy(url, process, log)
        yield Server(url, on, time.perf_counter() - began, process.pid)
    finally:
        await _stop(process)


async def _healthy(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    import httpx2

    async with httpx2.AsyncClient(timeout=30) as http, asyncio.timeout(180):
        while process.returncode is None:
            try:
                if (await http.get(f"{url}/health")).status_code == 200:
                    return
            except httpx2.TransportError:
                await asyncio.sleep(0.05)
    raise RuntimeError(f"mlflow server ended with {process.returncode}:\n{log.read_text()[-3000:]}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End the server and then its whole group: its job runners outlive a parent that is only asked to stop."""
    if process.returncode is None:
        process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(15):
                await process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
