"""The S3 adapter against MinIO, where its server is at hand (`.ci/install-minio` builds it)."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import urllib3

from muniment.adapters.minio import MinioBlobStore, S3Options
from muniment.testing.blob_contract import BlobContract, Send

pytestmark = pytest.mark.minio


def _server() -> str | None:
    built = Path(__file__).parents[2] / ".cache/minio/minio"
    return os.environ.get("MUNIMENT_TEST_MINIO") or shutil.which("minio") or (str(built) if built.exists() else None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Options]:
    program = _server()
    if program is None:
        pytest.skip("no minio server: set MUNIMENT_TEST_MINIO, put minio on PATH, or run .ci/install-minio")
    folder, port = tmp_path_factory.mktemp("minio"), _free_port()
    endpoint, access_key, secret_key = f"http://127.0.0.1:{port}", secrets.token_hex(8), secrets.token_hex(16)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "MINIO_ROOT_USER": access_key,
        "MINIO_ROOT_PASSWORD": secret_key,
        "MINIO_BROWSER": "off",
    }
    command = [program, "server", str(folder / "data"), "--address", f"127.0.0.1:{port}"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server,
    ):
        try:
            _wait_until_ready(endpoint, server, folder / "log")
            yield S3Options(endpoint=endpoint, access_key=access_key, secret_key=secret_key, settle_timeout=0.3)
        finally:
            server.terminate()


def _wait_until_ready(endpoint: str, server: subprocess.Popen[bytes], log: Path) -> None:
    http, deadline = urllib3.PoolManager(timeout=1, retries=False), time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if http.request("GET", f"{endpoint}/minio/health/ready").status == 200:
                return
        except urllib3.exceptions.HTTPError:
            pass
        time.sleep(0.05)
    pytest.fail(f"minio did not become ready:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
async def store(options: S3Options) -> AsyncIterator[MinioBlobStore]:
    store = MinioBlobStore(options)
    yield store
    await store.aclose()


class TestMinio(BlobContract):
    lists_uploads_by_prefix = False

    @pytest.fixture
    def send(self, http_send: Send) -> Send:
        return http_send
