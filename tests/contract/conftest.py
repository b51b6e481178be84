"""Contract tests: the same expectations for a stand-in and for the real thing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import urllib3

from muniment.server.parts.datadir import open_data_dir
from muniment.server.parts.endpoints import S3Endpoint
from muniment.server.parts.process import start_guard
from muniment.server.parts.s3 import run_s3
from muniment.server.parts.settings import S3Settings

# Before anything imports them: so that a failed assertion in a suite shows its values.
pytest.register_assert_rewrite(
    "muniment.testing.blob_contract",
    "muniment.testing.blob_contract_locks",
    "muniment.testing.blob_contract_transfers",
)


@pytest.fixture(scope="session")
async def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[S3Endpoint]:
    """A real object store of its own, gone with the tests."""
    async with (
        open_data_dir(tmp_path_factory.mktemp("s3"), print) as data,
        start_guard(data.lock_fd) as guard,
        run_s3(S3Settings(), data, guard, print) as (endpoint, _),
    ):
        yield endpoint


@dataclass(frozen=True)
class HttpAnswer:
    """What came back over plain HTTP; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture(scope="session")
def http_send() -> object:
    """Plain HTTP without credentials, for presigned URLs."""
    http = urllib3.PoolManager(timeout=10, retries=False)

    async def send(method: str, url: str, body: bytes) -> HttpAnswer:
        answer = await asyncio.to_thread(http.request, method, url, body=body)
        return HttpAnswer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data)

    return send
