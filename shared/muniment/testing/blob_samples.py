"""What the blob contract works with: names, bytes, locks, and how its traces are removed."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

from muniment.ports.blobs import BlobStore, Location, Lock, LockMode, ObjectLocked


class Response(Protocol):
    """An HTTP answer, read to its end. Header names are looked up in lower case."""

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""
        ...

    @property
    def body(self) -> bytes:
        """The whole body."""
        ...


Send = Callable[[str, str, bytes], Awaitable[Response]]
"""Plain HTTP: (method, url, body). For presigned URLs, so without credentials."""


def fresh(stem: str) -> str:
    """A bucket name that nobody used before."""
    return f"{stem}-{uuid.uuid4().hex[:16]}"


def pattern(size: int) -> bytes:
    """Bytes of which no two blocks are alike, so that a misplaced one changes the digest."""
    block = 32
    return b"".join(hashlib.sha256(number.to_bytes(8, "big")).digest() for number in range(-(-size // block)))[:size]


def until(seconds: float, mode: LockMode = "COMPLIANCE") -> Lock:
    """A lock from now on."""
    return Lock(mode, datetime.now(UTC) + timedelta(seconds=seconds))


async def empty_bucket(store: BlobStore, bucket: str, *, within: float = 120) -> None:
    """Delete every version and delete marker of the bucket, waiting for locks to run out. Raises `TimeoutError`."""
    deadline = time.monotonic() + within
    while items := (await store.list_versions(bucket, limit=200)).items:
        for item in items:
            await deleted(store, item, within=max(deadline - time.monotonic(), 0))


async def deleted(store: BlobStore, location: Location, *, within: float) -> None:
    """Delete as soon as the lock allows."""
    async with asyncio.timeout(within):
        while True:
            try:
                return await store.delete_version(location)
            except ObjectLocked:
                await asyncio.sleep(0.1)
