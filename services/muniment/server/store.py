"""The blob store that settings name, with its buckets made or checked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from muniment.adapters.minio import MinioBlobStore, S3Options
from muniment.contracts.errors import Misconfigured
from muniment.ports.blobs import BlobStore, Lock
from muniment.ports.clock import SystemClock
from muniment.ports.timing import Observe, unobserved
from muniment.runtime.settings import Settings

if TYPE_CHECKING:
    from muniment.server.endpoints import Endpoints

_MARK: Final = "muniment/bucket"


@asynccontextmanager
async def open_store(
    settings: Settings, endpoints: Endpoints, observe: Observe = unobserved
) -> AsyncIterator[BlobStore]:
    """Open the store and make sure of its buckets: ours with object lock, the landing buckets with versions.

    Raises `Misconfigured` when a bucket lacks them: a version is never registered where it could not be locked.
    """
    store = MinioBlobStore(
        S3Options(
            endpoint=endpoints.s3_endpoint,
            public_endpoint=settings.s3.public_endpoint,
            access_key=endpoints.s3_access_key,
            secret_key=endpoints.s3_secret_key,
            region=endpoints.s3_region,
            threads=settings.s3.threads,
            stream_threads=settings.validator.workers,
        ),
        observe,
    )
    try:
        for bucket in (settings.s3.bucket, settings.audit.bucket):
            await store.ensure_bucket(bucket, object_lock=True)
        for bucket in sorted(settings.ingest.landing_buckets):
            await store.ensure_bucket(bucket, object_lock=False)
        await _prove(store, settings.s3.bucket)
        yield store
    finally:
        await store.aclose()


async def _prove(store: BlobStore, bucket: str) -> None:
    """Show at start, not at the first commit, that the store takes conditional writes, and takes and keeps locks.

    It also pays for what a store prepares at its first write. Raises `Misconfigured` (`lock_refused`).
    """
    until = SystemClock().now() + timedelta(minutes=1)
    mark = (await store.put_once(bucket, _MARK, b"muniment", lock=Lock(mode="COMPLIANCE", until=until))).location
    asked = Lock(mode="COMPLIANCE", until=until + timedelta(seconds=1))  # longer: asked for by itself, as bytes' are
    await store.lock(mark, asked)
    held = await store.retention(mark)
    if held is None or not held.covers(asked):
        raise Misconfigured(
            "lock_refused",
            f"the bucket {bucket} takes a lock and does not keep it",
            expected=f"{asked.mode} until {asked.until.isoformat()}",
            actual="no lock" if held is None else f"{held.mode} until {held.until.isoformat()}",
            hint="use a store that keeps S3 Object Lock; without it no version is registered",
        )
