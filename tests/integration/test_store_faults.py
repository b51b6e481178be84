"""The S3 adapter when the network between it and a real store breaks.

What must hold: a fault is a transient error within the time-outs, never a statement about the object; what did not
come in full has no digest; bytes damaged on the way are found by reading twice; and all is well when the fault is over.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import pytest

from muniment.adapters.minio import MinioBlobStore, S3Options
from muniment.ports.blobs import Location, StoreUnavailable
from muniment.server.parts.datadir import open_data_dir
from muniment.server.parts.endpoints import S3Endpoint
from muniment.server.parts.process import start_guard
from muniment.server.parts.s3 import run_s3
from muniment.server.parts.settings import S3Settings
from muniment.testing.blob_samples import fresh, pattern, until
from muniment.testing.tcp_proxy import HTTP_BODY, Fault, TcpProxy

MIB = 1024 * 1024
SIZE = 3 * MIB
DATA = pattern(SIZE)
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
async def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[S3Endpoint]:
    async with (
        open_data_dir(tmp_path_factory.mktemp("s3"), print) as data,
        start_guard(data.lock_fd) as guard,
        run_s3(S3Settings(), data, guard, print) as (endpoint, _),
    ):
        yield endpoint


@pytest.fixture(scope="module")
def options(seaweedfs: S3Endpoint) -> S3Options:
    return S3Options(
        endpoint=seaweedfs.endpoint,
        access_key=seaweedfs.access_key,
        secret_key=seaweedfs.secret_key,
        connect_timeout=0.5,
        read_timeout=0.5,
        ping_timeout=0.5,
        retries=1,
    )


@pytest.fixture(scope="module")
async def straight(options: S3Options) -> AsyncIterator[MinioBlobStore]:
    """The store without the proxy, patient."""
    store = MinioBlobStore(dataclasses.replace(options, read_timeout=30))
    yield store
    await store.aclose()


@pytest.fixture(scope="module")
async def location(straight: MinioBlobStore) -> Location:
    bucket = fresh("faults")
    await straight.ensure_bucket(bucket, object_lock=True)
    return await straight.put(bucket, "model", DATA)


@pytest.fixture
async def proxy(options: S3Options) -> AsyncIterator[TcpProxy]:
    target = urlsplit(options.endpoint)
    assert target.hostname is not None
    assert target.port is not None
    async with TcpProxy(target.hostname, target.port) as proxy:
        yield proxy


@pytest.fixture
async def store(options: S3Options, proxy: TcpProxy) -> AsyncIterator[MinioBlobStore]:
    store = MinioBlobStore(dataclasses.replace(options, endpoint=f"http://{proxy.address}"))
    yield store
    await store.aclose()


async def failed(attempt: Awaitable[object]) -> StoreUnavailable:
    with pytest.raises(StoreUnavailable) as caught:
        await attempt
    return caught.value


@pytest.mark.parametrize("after", [0, 1, MIB, SIZE - 1])
@pytest.mark.parametrize("end", ["cut", "reset"])
async def test_a_body_that_ends_early_has_no_digest(
    store: MinioBlobStore, proxy: TcpProxy, location: Location, end: str, after: int
) -> None:
    proxy.answers = Fault(**{f"{end}_after": after}, marker=HTTP_BODY)
    error = await failed(store.hash(location))
    assert error.code == "store_unavailable"
    assert proxy.fired[end] >= 1
    await failed(store.read_range(location, offset=0, length=SIZE))
    reader = store.random_reader(location, size=SIZE)
    await failed(asyncio.to_thread(reader.read, 0, SIZE))
    proxy.heal()
    assert (await store.hash(location)).sha256 == DIGEST


@pytest.mark.parametrize("at", [0, MIB, SIZE - 1])
async def test_bytes_damaged_on_the_way_are_found_by_reading_twice(
    store: MinioBlobStore, proxy: TcpProxy, location: Location, at: int
) -> None:
    proxy.answers = Fault(corrupt_at=at, marker=HTTP_BODY, times=1)
    first, second = await store.hash(location), await store.hash(location)
    assert proxy.fired["corrupt"] == 1
    assert (first.size, second.size) == (SIZE, SIZE)
    assert first.sha256 != DIGEST
    assert second.sha256 == DIGEST


async def test_a_damaged_upload_is_refused_by_the_store(
    store: MinioBlobStore, straight: MinioBlobStore, proxy: TcpProxy, location: Location
) -> None:
    proxy.requests = Fault(corrupt_at=MIB, marker=HTTP_BODY)
    await failed(store.put(location.bucket, "damaged", DATA))
    assert proxy.fired["corrupt"] == 1, "sent once: a body is not repeated"
    assert (await straight.list_versions(location.bucket, prefix="damaged")).items == ()


@pytest.mark.parametrize("operation", ["stat", "hash", "read_range", "put", "put_once", "lock", "list", "ping"])
async def test_a_black_hole_ends_in_a_bounded_time(
    store: MinioBlobStore, proxy: TcpProxy, location: Location, operation: str
) -> None:
    proxy.answers = Fault(hold_after=0)
    operations: dict[str, Callable[[], Awaitable[object]]] = {
        "stat": lambda: store.stat(location.bucket, location.key, location.version_id),
        "hash": lambda: store.hash(location),
        "read_range": lambda: store.read_range(location, offset=0, length=10),
        "put": lambda: store.put(location.bucket, "hole", b"x"),
        "put_once": lambda: store.put_once(location.bucket, "hole-once", b"x", lock=until(20)),
        "lock": lambda: store.lock(location, until(20)),
        "list": lambda: store.list_versions(location.bucket),
        "ping": lambda: store.ping(location.bucket),
    }
    async with asyncio.timeout(30):  # a stop for the test; the bound itself is the two time-outs of half a second
        error = await failed(operations[operation]())
    assert error.code == "store_unavailable"
    assert proxy.fired["hold"] >= 1


async def test_a_body_that_stops_coming_ends_in_a_bounded_time(
    store: MinioBlobStore, proxy: TcpProxy, location: Location
) -> None:
    proxy.answers = Fault(hold_after=MIB, marker=HTTP_BODY)
    async with asyncio.timeout(30):
        await failed(store.hash(location))
    assert proxy.fired["hold"] == 1, "a broken body is not read again from here"


async def test_a_trickle_is_too_slow(options: S3Options, proxy: TcpProxy, location: Location) -> None:
    """Every wait is shorter than the read time-out, so only the pace can end it."""
    proxy.answers = Fault(latency=0.2)
    store = MinioBlobStore(
        dataclasses.replace(options, endpoint=f"http://{proxy.address}", minimum_rate=100 * MIB, read_timeout=1)
    )
    async with asyncio.timeout(30):
        error = await failed(store.hash(location))
    assert "too slow" in str(error)
    assert proxy.fired["latency"] > 1
    await store.aclose()


async def test_cancelling_a_task_ends_its_read(store: MinioBlobStore, proxy: TcpProxy, location: Location) -> None:
    proxy.answers = Fault(latency=0.05)
    read: list[int] = []
    task = asyncio.create_task(store.hash(location, progress=read.append))
    deadline = time.monotonic() + 30
    while not read:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.aclose()  # waits for the thread: it has stopped
    assert sum(read) < SIZE


async def test_a_store_that_is_down_and_comes_back(store: MinioBlobStore, proxy: TcpProxy, location: Location) -> None:
    assert (await store.hash(location)).sha256 == DIGEST
    await proxy.down()
    for attempt in (
        store.ping(location.bucket),
        store.stat(location.bucket, location.key),
        store.hash(location),
        store.put(location.bucket, "down", b"x"),
        store.put_once(location.bucket, "down", b"x"),
        store.lock(location, until(20)),
        store.ensure_bucket(location.bucket, object_lock=True),
    ):
        assert (await failed(attempt)).code == "store_unavailable"
    await proxy.up()
    await store.ping(location.bucket)
    assert (await store.hash(location)).sha256 == DIGEST
    assert (await store.put_once(location.bucket, "down", b"x")).created


async def test_a_write_whose_answer_is_lost_can_be_repeated(
    store: MinioBlobStore, proxy: TcpProxy, location: Location
) -> None:
    """The store has the bytes and the lock; only its answer is lost. `put_once` finds out; nothing is written twice."""
    lock = until(60)
    await store.retention(location)  # the bucket is known to hold locks: the next request is the write itself
    proxy.answers = Fault(reset_after=0, times=1)
    result = await store.put_once(location.bucket, "unanswered", b"x", lock=lock)
    assert proxy.fired["reset"] == 1
    assert not result.created
    assert await store.retention(result.location) == lock
    assert len((await store.list_versions(location.bucket, prefix="unanswered")).items) == 1


async def test_a_lock_whose_answer_is_lost_is_put_again(
    store: MinioBlobStore, straight: MinioBlobStore, proxy: TcpProxy, location: Location
) -> None:
    version, lock = await straight.put(location.bucket, "relock", b"x"), until(60)
    await store.retention(version)
    proxy.answers = Fault(reset_after=0, times=1)
    assert await store.lock(version, lock) == lock
    assert proxy.fired["reset"] == 1
    assert await straight.retention(version) == lock


async def test_a_copy_in_parts_that_breaks_leaves_no_object(
    options: S3Options, straight: MinioBlobStore, proxy: TcpProxy, location: Location
) -> None:
    large = await straight.put(location.bucket, "large", pattern(11 * MIB))
    source = await straight.stat(location.bucket, "large", large.version_id)
    store = MinioBlobStore(
        dataclasses.replace(
            options, endpoint=f"http://{proxy.address}", copy_part_size=5 * MIB, copy_parts_at_once=1, read_timeout=30
        )
    )
    proxy.requests = Fault(reset_after=1500, times=1)  # behind the first request of the connection, into a later one
    await failed(store.copy(source, location.bucket, "broken copy"))
    assert proxy.fired["reset"] == 1
    assert (await straight.list_versions(location.bucket, prefix="broken")).items == ()
    copied = await store.copy(source, location.bucket, "broken copy")
    assert (await straight.hash(copied)).sha256 == hashlib.sha256(pattern(11 * MIB)).hexdigest()
    await store.aclose()
