"""What every `BlobStore` must do. The in-memory stand-in, SeaweedFS and MinIO are held to it; so can any other be:

    class TestMyStore(BlobContract):
        @pytest.fixture
        def store(self): ...            # a BlobStore
        @pytest.fixture
        def send(self): ...             # async (method, url, body) -> Response: plain HTTP, for presigned URLs

Buckets are made under names of their own and not removed: a port has no verb for that. Locks last seconds, and
`empty_bucket` waits for them and deletes all versions, where a store outlives the tests.
"""
# ruff: noqa: S101 - a contract suite is made of assertions

from __future__ import annotations

import asyncio
import hashlib
import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from muniment.contracts.errors import Misconfigured, NotFound, Rejected
from muniment.ports.blobs import (
    EDGE,
    BlobStore,
    Location,
    StoreUnavailable,
)
from muniment.testing.blob_contract_locks import LocksContract
from muniment.testing.blob_contract_transfers import TransfersContract
from muniment.testing.blob_samples import Response, Send, empty_bucket, fresh, pattern, until

__all__ = ["BlobContract", "Response", "Send", "empty_bucket"]

MIB = 1024 * 1024


class BlobContract(LocksContract, TransfersContract):
    """Subclass it, name the subclass `Test...`, and give it the fixtures `store` and `send`."""

    # -- buckets ------------------------------------------------------------------------------------------------------

    async def test_a_bucket_is_made_once_and_then_checked(self, store: BlobStore) -> None:
        bucket = fresh("made")
        with pytest.raises(NotFound) as caught:
            await store.ping(bucket)
        assert caught.value.code == "bucket_not_found"
        await asyncio.gather(*(store.ensure_bucket(bucket, object_lock=True) for _ in range(4)))
        await store.ensure_bucket(bucket, object_lock=False)
        await store.ping(bucket)

    async def test_a_bucket_without_object_lock_is_refused_where_locks_are_needed(self, store: BlobStore) -> None:
        bucket = fresh("plain")
        await store.ensure_bucket(bucket, object_lock=False)
        with pytest.raises(Misconfigured) as caught:
            await store.ensure_bucket(bucket, object_lock=True)
        assert caught.value.code == "bucket_without_object_lock"

    async def test_a_lock_in_a_bucket_without_object_lock_is_refused(self, store: BlobStore) -> None:
        bucket = fresh("plain")
        await store.ensure_bucket(bucket, object_lock=False)
        location = await store.put(bucket, "k", b"x")
        for attempt in (
            store.put(bucket, "locked", b"x", lock=until(20)),
            store.put_once(bucket, "once", b"x", lock=until(20)),
            store.lock(location, until(20)),
            store.retention(location),
        ):
            with pytest.raises(Misconfigured) as caught:
                await attempt
            assert caught.value.code == "bucket_without_object_lock"
        for key in ("locked", "once"):
            with pytest.raises(NotFound):
                await store.stat(bucket, key)

    # -- versions -----------------------------------------------------------------------------------------------------

    async def test_an_overwrite_is_another_version_and_the_old_bytes_stay(self, store: BlobStore, bucket: str) -> None:
        old = await store.put(bucket, "k", b"old", content_type="text/plain")
        new = await store.put(bucket, "k", b"newer")
        assert old.version_id != new.version_id
        assert await store.read_range(old, offset=0, length=10) == b"old"
        assert (await store.hash(old)).sha256 == hashlib.sha256(b"old").hexdigest()
        assert (await store.hash(new)).sha256 == hashlib.sha256(b"newer").hexdigest()
        latest, first = await store.stat(bucket, "k"), await store.stat(bucket, "k", old.version_id)
        assert (latest.version_id, latest.size) == (new.version_id, 5)
        assert (first.version_id, first.size) == (old.version_id, 3)
        assert first.etag
        assert first.etag != latest.etag
        assert abs(first.last_modified - datetime.now(UTC)) < timedelta(hours=1)
        assert first.lock is None

    @pytest.mark.parametrize("size", [0, 1, 1000, 1024 * 1024, 1024 * 1024 + 1])
    async def test_a_small_version_is_read_whole(self, store: BlobStore, bucket: str, size: int) -> None:
        data = pattern(size)
        old = await store.put(bucket, "k", data)
        await store.put(bucket, "k", b"a newer version")
        assert await store.read_whole(old) == (data if size <= 1024 * 1024 else None)
        assert await store.read_whole(old, at_most=size) == data
        if size:
            assert await store.read_whole(old, at_most=size - 1) is None
        # A wrong expectation changes nothing.
        told = [await store.hash(old, expected_size=expected) for expected in (None, size, 0, 1024 * 1024)]
        assert all(result == told[0] for result in told)
        assert (told[0].sha256, told[0].size) == (hashlib.sha256(data).hexdigest(), size)

    async def test_a_hidden_key_keeps_its_versions(self, store: BlobStore, bucket: str) -> None:
        location = await store.put(bucket, "k", b"kept")
        await store.hide(bucket, "k")
        with pytest.raises(NotFound):
            await store.stat(bucket, "k")
        assert await store.read_range(location, offset=0, length=4) == b"kept"
        page = await store.list_versions(bucket, prefix="k")
        marker = next(item for item in page.items if item.is_delete_marker)
        with pytest.raises(NotFound):
            await store.stat(bucket, "k", marker.version_id)
        await store.delete_version(marker)
        assert (await store.stat(bucket, "k")).version_id == location.version_id

    async def test_deleting_a_version_leaves_the_others_and_may_be_repeated(
        self, store: BlobStore, bucket: str
    ) -> None:
        old, new = await store.put(bucket, "k", b"old"), await store.put(bucket, "k", b"new")
        await store.delete_version(new)
        await store.delete_version(new)
        assert (await store.stat(bucket, "k")).version_id == old.version_id
        with pytest.raises(NotFound):
            await store.read_range(new, offset=0, length=1)

    @pytest.mark.parametrize("wrong", ["other-key", "never-given", "malformed", "missing-key"])
    async def test_what_is_not_there_is_not_found(self, store: BlobStore, bucket: str, wrong: str) -> None:
        known, other = await store.put(bucket, "k", b"x"), await store.put(bucket, "other", b"y")
        found = await store.stat(bucket, "k")
        missing = {
            "other-key": Location(bucket, "k", other.version_id),
            "never-given": Location(bucket, "k", str(uuid.uuid4())),
            "malformed": Location(bucket, "k", "no version-id of any store"),
            "missing-key": Location(bucket, "nothing", known.version_id),
        }[wrong]
        source = type(found)(
            missing.bucket, missing.key, missing.version_id, found.size, found.etag, found.last_modified
        )
        for attempt in (
            store.stat(missing.bucket, missing.key, missing.version_id),
            store.hash(missing),
            store.hash(missing, expected_size=1),
            store.read_whole(missing),
            store.read_range(missing, offset=0, length=1),
            store.lock(missing, until(20)),
            store.retention(missing),
            store.copy(source, bucket, "copy"),
        ):
            with pytest.raises(NotFound) as caught:
                await attempt
            assert caught.value.code == "object_not_found"
        await store.delete_version(missing)
        assert (await store.stat(bucket, "k")).version_id == known.version_id

    @pytest.mark.parametrize(
        "key",
        ["", "/a", "a/", "a//b", "./a", "a/..", "a/../b", "a\\b", "a\x00b", "a\nb", "\ud800", "k" * 256, "a/" * 512],
    )
    async def test_keys_that_stores_read_differently_are_refused(self, store: BlobStore, bucket: str, key: str) -> None:
        for attempt in (
            store.put(bucket, key, b"x"),
            store.stat(bucket, key),
            store.hash(Location(bucket, key, "v")),
            store.presign_put(bucket, key, expires=timedelta(seconds=60)),
            store.create_multipart(bucket, key),
        ):
            with pytest.raises(Rejected) as caught:
                await attempt
            assert caught.value.code == "object_key_invalid"

    @pytest.mark.parametrize("name", ["", "ab", "Upper", "a_b", "../etc", "a..b", "192.168.0.1", "a/b", "b" * 64])
    async def test_bucket_names_outside_the_rules_are_refused(self, store: BlobStore, name: str) -> None:
        for attempt in (store.ensure_bucket(name, object_lock=True), store.put(name, "k", b"x"), store.stat(name, "k")):
            with pytest.raises(Rejected) as caught:
                await attempt
            assert caught.value.code == "bucket_name_invalid"

    # -- reading ------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [0, 1, EDGE - 1, EDGE, EDGE + 1, MIB, 5 * MIB + 1])
    async def test_a_hash_is_of_every_byte(self, store: BlobStore, bucket: str, size: int) -> None:
        data = pattern(size)
        seen: list[int] = []
        location = await store.put(bucket, "k", data)
        result = await store.hash(location, progress=seen.append)
        assert result.sha256 == hashlib.sha256(data).hexdigest()
        assert result.size == sum(seen) == size
        assert result.edges.head == data[:EDGE]
        assert result.edges.tail == data[-EDGE:]

    async def test_a_cancelled_hash_ends_at_the_next_chunk(self, store: BlobStore, bucket: str) -> None:
        location = await store.put(bucket, "k", pattern(5 * MIB))
        cancel = threading.Event()
        seen: list[int] = []

        def stop_after_the_first(count: int) -> None:
            seen.append(count)
            cancel.set()

        with pytest.raises(StoreUnavailable) as caught:
            await store.hash(location, progress=stop_after_the_first, cancel=cancel)
        assert caught.value.code == "read_cancelled"
        assert len(seen) == 1

    async def test_ranges_end_where_the_object_ends(self, store: BlobStore, bucket: str) -> None:
        location = await store.put(bucket, "k", b"0123456789")
        empty = await store.put(bucket, "empty", b"")
        for (offset, length), expected in {
            (0, 4): b"0123",
            (0, 10): b"0123456789",
            (0, 99): b"0123456789",
            (8, 99): b"89",
            (9, 1): b"9",
            (3, 0): b"",
            (10, 1): b"",
            (99, 1): b"",
        }.items():
            assert await store.read_range(location, offset=offset, length=length) == expected
        assert await store.read_range(empty, offset=0, length=1) == b""
        for offset, length in ((-1, 1), (0, -1), (0, 2**40)):
            with pytest.raises(ValueError, match="range"):
                await store.read_range(location, offset=offset, length=length)

    @pytest.mark.parametrize("chunk_size", [7, 64 * 1024, 8 * MIB])
    async def test_a_reader_gives_all_bytes_in_bounded_chunks(
        self, store: BlobStore, bucket: str, chunk_size: int
    ) -> None:
        data = pattern(100_003)
        location = await store.put(bucket, "k", data)

        def read(offset: int, length: int | None) -> tuple[int, list[bytes]]:
            with store.open(location, offset=offset, length=length) as reader:
                return reader.size, list(reader.read_chunks(chunk_size))

        for offset, length in ((0, None), (1, None), (99_999, None), (100_003, None), (5, 0), (5, 50_000), (5, 10**6)):
            expected = data[offset : None if length is None else offset + length]
            size, chunks = await asyncio.to_thread(read, offset, length)
            assert b"".join(chunks) == expected
            assert size == len(expected)
            assert all(1 <= len(chunk) <= chunk_size for chunk in chunks)

    async def test_a_reader_left_early_does_no_harm(self, store: BlobStore, bucket: str) -> None:
        data = pattern(3 * MIB)
        location = await store.put(bucket, "k", data)

        def first_byte() -> bytes:
            with store.open(location) as reader:
                return next(reader.read_chunks(1))

        assert await asyncio.to_thread(first_byte) == data[:1]
        assert (await store.hash(location)).size == len(data)

    @pytest.mark.parametrize("size", [0, 100, 3 * EDGE])
    async def test_a_random_reader_reads_anywhere(self, store: BlobStore, bucket: str, size: int) -> None:
        data = pattern(size)
        location = await store.put(bucket, "k", data)
        kept = (await store.hash(location)).edges
        for edges in (None, kept):
            reader = store.random_reader(location, size=size, edges=edges)
            assert reader.size == size
            for offset in (0, 1, EDGE - 1, EDGE, size // 2, max(size - 9, 0), size, size + 1):
                for length in (0, 1, 8, EDGE + 5):
                    got = await asyncio.to_thread(reader.read, offset, length)
                    assert got == data[offset : offset + length], (offset, length)
