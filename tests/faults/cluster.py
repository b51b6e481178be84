"""Real parts, proxies before the database and the store, and replicas of each service, with names of their own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from muniment.adapters.minio import MinioBlobStore, S3Options
from muniment.sdk import AsyncClient
from muniment.server.endpoints import endpoints_of
from muniment.server.parts import Parts
from muniment.server.process import parts_environment
from muniment.server.stack import Endpoints
from muniment.server.wiring import NAMES
from muniment.testing.tcp_proxy import TcpProxy
from tests.conftest import new_database

from .replicas import Replica, stands_still

QUICK = {
    "MUNIMENT_REGISTRY__PRODUCTION__RETENTION_S": "600",
    "MUNIMENT_REGISTRY__RETENTION_MARGIN_S": "1",
    "MUNIMENT_VALIDATOR__LEASE_S": "2",
    # Within the sizes of the load, so that some publications are validated at once and others become jobs.
    "MUNIMENT_VALIDATOR__AT_ONCE_BYTES": "65536",
    "MUNIMENT_DELIVERY__RETRY_SCALE": "0.05",
    "MUNIMENT_NOTIFIER__RETRY_SCALE": "0.01",
    "MUNIMENT_NOTIFIER__TIMEOUT_S": "2",
    "MUNIMENT_NOTIFIER__ALLOW_PRIVATE_NETWORKS": "true",
    "MUNIMENT_INGEST__ALLOW_UNSIGNED": "true",
    "MUNIMENT_LOG_FORMAT": "json",
}


@dataclass
class Cluster:
    """What is running. `dsn` and `blobs()` go around the proxies."""

    name: str
    folder: Path
    parts: Parts
    dsn: str
    database: TcpProxy
    store: TcpProxy
    replicas: dict[str, list[Replica]]

    @property
    def prefix(self) -> str:
        """Of topics and groups."""
        return f"{self.name}."

    @property
    def bucket(self) -> str:
        """Of committed bytes and uploads."""
        return f"models-{self.name}"

    @property
    def log_bucket(self) -> str:
        """Of the audit log's tiles and checkpoint."""
        return f"audit-{self.name}"

    @property
    def landing(self) -> str:
        """Where trainers put files."""
        return f"landing-{self.name}"

    @property
    def token(self) -> str:
        """The first admin's."""
        for replica in self.replicas["registry"]:
            if (file := replica.folder / "credentials.json").exists():
                return str(json.loads(file.read_text())["token"])
        raise AssertionError("no registry has made the first admin")

    @property
    def everything(self) -> list[Replica]:
        """All replicas of all services."""
        return [one for of in self.replicas.values() for one in of]

    def client(self, service: str, *, replica: int = 0, timeout: float = 10) -> AsyncClient:
        """A client of one replica of a service."""
        return AsyncClient(self.replicas[service][replica].url, self.token, timeout=timeout)

    def blobs(self) -> MinioBlobStore:
        """A client of the store; close it."""
        s3 = self.parts.s3
        return MinioBlobStore(
            S3Options(endpoint=s3.endpoint, access_key=s3.access_key, secret_key=s3.secret_key, region=s3.region)
        )

    def freeze(self, part: str) -> None:
        """Make a part a black hole: it takes connections and answers nothing."""
        os.kill(self.parts.pids[part], signal.SIGSTOP)

    def thaw(self, part: str) -> None:
        """Let it go on."""
        os.kill(self.parts.pids[part], signal.SIGCONT)

    def frozen(self, part: str) -> bool:
        """Whether it stands still."""
        return stands_still(self.parts.pids[part])


@asynccontextmanager
async def cluster(
    parts: Parts,
    folder: Path,
    name: str,
    *,
    replicas: int = 1,
    services: Sequence[str] = NAMES,
    **settings: str,
) -> AsyncIterator[Cluster]:
    """Start these services, with more settings; at the end all of its processes are stopped, paused ones too."""
    async with AsyncExitStack() as stack:
        dsn = await new_database(parts)
        split = urlsplit(parts.s3.endpoint)
        sockets = parse_qs(urlsplit(dsn).query)["host"][0]
        database = await stack.enter_async_context(TcpProxy(f"{sockets}/.s.PGSQL.5432"))
        store = await stack.enter_async_context(TcpProxy(split.hostname or "", split.port or 80))
        known = endpoints_of(parts)
        fields = {field: getattr(known, field) for field in known.__dataclass_fields__}
        proxied = Endpoints(
            **{
                **fields,
                "postgres_dsn": f"postgresql://postgres@{database.address}{urlsplit(dsn).path}?sslmode=disable",
                "s3_endpoint": f"http://{store.address}",
            }
        )
        environment = {
            **QUICK,
            **parts_environment(proxied),
            "MUNIMENT_KAFKA__TOPIC_PREFIX": f"{name}.",
            "MUNIMENT_KAFKA__GROUP_PREFIX": f"{name}.",
            "MUNIMENT_KAFKA__PARTITIONS": "2",
            "MUNIMENT_S3__BUCKET": f"models-{name}",
            "MUNIMENT_AUDIT__BUCKET": f"audit-{name}",
            "MUNIMENT_INGEST__LANDING_BUCKETS": json.dumps([f"landing-{name}"]),
            "MUNIMENT_NOTIFIER__SECRET_KEY": "bXVuaW1lbnQtdGVzdC1zZWFsaW5nLWtleS0zMmJ5dGU=",
            **settings,
        }
        made = {
            service: [Replica(service, folder / f"{service}-{n}", environment) for n in range(replicas)]
            for service in services
        }
        running = Cluster(name, folder, parts, dsn, database, store, made)
        stack.push_async_callback(_together, [replica.stop for replica in running.everything])
        await _together([one.start for one in running.everything])
        yield running


async def _together(calls: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """As an orchestrator does it: all at once, and each migrates and makes what it misses."""
    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(_awaited(call))


async def _awaited(call: Callable[[], Awaitable[None]]) -> None:
    await call()
