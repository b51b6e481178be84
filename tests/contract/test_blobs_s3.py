"""The S3 adapter against SeaweedFS: the contract, and what only S3 has."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from minio import Minio

from muniment.adapters import minio
from muniment.adapters.minio import MinioBlobStore, S3Options
from muniment.adapters.s3 import reading, stretches
from muniment.contracts.errors import Misconfigured, NotFound, PreconditionFailed
from muniment.ports.blobs import BlobReader, Location, StoreUnavailable
from muniment.server.parts.endpoints import S3Endpoint
from muniment.testing.blob_contract import BlobContract, Send
from muniment.testing.blob_samples import fresh, pattern, until

MIB = 1024 * 1024
Open = Callable[[int, int], AbstractContextManager[BlobReader]]


@pytest.fixture(scope="module")
def options(seaweedfs: S3Endpoint) -> S3Options:
    return S3Options(
        endpoint=seaweedfs.endpoint,
        access_key=seaweedfs.access_key,
        secret_key=seaweedfs.secret_key,
        settle_timeout=0.3,
    )


@pytest.fixture(scope="module")
async def store(options: S3Options) -> AsyncIterator[MinioBlobStore]:
    store = MinioBlobStore(options)
    yield store
    await store.aclose()


@pytest.fixture(scope="module")
def raw(seaweedfs: S3Endpoint) -> Minio:
    """The store without the adapter."""
    return Minio(
        urlsplit(seaweedfs.endpoint).netloc,
        access_key=seaweedfs.access_key,
        secret_key=seaweedfs.secret_key,
        secure=False,
        region="us-east-1",
    )


class TestSeaweedFS(BlobContract):
    @pytest.fixture
    def send(self, http_send: Send) -> Send:
        return http_send


async def test_a_large_copy_is_made_in_parts_of_the_named_version(options: S3Options) -> None:
    store = MinioBlobStore(dataclasses.replace(options, copy_part_size=5 * MIB, copy_parts_at_once=2))
    bucket, data = fresh("copy"), pattern(11 * MIB + 3)
    await store.ensure_bucket(bucket, object_lock=True)
    old = await store.put(bucket, "k", data)
    await store.put(bucket, "k", b"newer")
    source = await store.stat(bucket, "k", old.version_id)
    copied = await store.copy(source, bucket, "copy")
    assert (await store.stat(bucket, "copy")).etag.endswith("-3"), "not made of three parts"
    assert (await store.hash(copied)).sha256 == hashlib.sha256(data).hexdigest()
    with pytest.raises(PreconditionFailed) as caught:
        await store.copy(dataclasses.replace(source, etag="0" * 32), bucket, "refused")
    assert caught.value.code == "source_changed"
    with pytest.raises(NotFound):
        await store.stat(bucket, "refused")
    await store.aclose()


async def test_a_large_version_is_read_in_stretches_and_cancelled_between_them(
    store: MinioBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (minio, reading, stretches):
        monkeypatch.setattr(module, "STRETCH", MIB)
    asked: list[tuple[int, int]] = []

    class Counted(stretches.StretchReader):
        def __init__(self, size: int, ask: Open) -> None:
            super().__init__(size, lambda offset, length: asked.append((offset, length)) or ask(offset, length))

    monkeypatch.setattr(reading, "StretchReader", Counted)
    bucket, data = fresh("ranges"), pattern(5 * MIB + 1)
    await store.ensure_bucket(bucket, object_lock=True)
    old = await store.put(bucket, "k", data)
    await store.put(bucket, "k", pattern(6 * MIB))
    seen: list[int] = []
    result = await store.hash(old, expected_size=len(data), progress=seen.append)
    assert (result.sha256, result.size, sum(seen)) == (hashlib.sha256(data).hexdigest(), len(data), len(data))
    assert asked == [*((number * MIB, MIB) for number in range(5)), (5 * MIB, 1)], "not read in stretches"
    mistaken = await store.hash(old, expected_size=len(data) + MIB)  # what is stored counts, not what was expected
    assert mistaken == result
    cancel = threading.Event()

    def stop(count: int) -> None:
        cancel.set()

    with pytest.raises(StoreUnavailable) as caught:
        await store.hash(old, expected_size=len(data), progress=stop, cancel=cancel)
    assert caught.value.code == "read_cancelled"
    assert (await store.hash(old, expected_size=len(data))).sha256 == result.sha256, "the connection was not given back"


async def test_presigning_asks_nobody_and_names_the_public_address(options: S3Options) -> None:
    store = MinioBlobStore(
        dataclasses.replace(options, endpoint="http://127.0.0.1:9", public_endpoint="https://s3.example.org")
    )
    location, minute = Location("bucket", "dir/k", "v1"), timedelta(minutes=1)
    for url in (
        await store.presign_put("bucket", "dir/k", expires=minute),
        await store.presign_get(location, expires=minute),
        await store.presign_part("bucket", "dir/k", "upload", 1, expires=minute),
    ):
        assert url.startswith("https://s3.example.org/bucket/dir/k?")
        assert options.secret_key not in url
    await store.aclose()


async def test_a_bucket_that_keeps_no_versions_is_refused(store: MinioBlobStore, raw: Minio) -> None:
    bucket = fresh("unversioned")
    raw.make_bucket(bucket)
    for object_lock in (True, False):
        with pytest.raises(Misconfigured) as caught:
            await store.ensure_bucket(bucket, object_lock=object_lock)
        assert caught.value.code == "bucket_without_versioning"
    for write in (store.put(bucket, "k", b"x"), store.put_once(bucket, "once", b"x")):
        with pytest.raises(Misconfigured) as caught:
            await write
        assert caught.value.code == "bucket_without_versioning"


async def test_wrong_credentials_are_a_matter_for_the_operator(options: S3Options, store: MinioBlobStore) -> None:
    bucket = fresh("denied")
    await store.ensure_bucket(bucket, object_lock=True)
    location = await store.put(bucket, "k", b"x")
    stranger = MinioBlobStore(dataclasses.replace(options, secret_key="not the secret"))
    for attempt in (
        stranger.ping(bucket),
        stranger.stat(bucket, "k"),
        stranger.hash(location),
        stranger.put(bucket, "k", b"y"),
        stranger.put_once(bucket, "k", b"y", lock=until(20)),
        stranger.lock(location, until(20)),
        stranger.delete_version(location),
        stranger.list_versions(bucket),
        stranger.ensure_bucket(bucket, object_lock=True),
    ):
        with pytest.raises(Misconfigured) as caught:
            await attempt
        assert caught.value.code == "store_access_denied"
        assert caught.value.__cause__ is not None
        assert "not the secret" not in str(caught.value)
    assert await store.retention(location) is None
    await stranger.aclose()


@pytest.mark.parametrize(
    "endpoint", ["", "127.0.0.1:9000", "ftp://host", "http://host/path", "http://user:word@host", "http://host?x=1"]
)
def test_an_endpoint_is_a_bare_url(options: S3Options, endpoint: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        MinioBlobStore(dataclasses.replace(options, endpoint=endpoint))
    assert caught.value.code == "s3_endpoint_invalid"
    assert "word" not in str(caught.value)


def test_options_do_not_print_the_secret(options: S3Options) -> None:
    assert options.secret_key not in repr(options)
