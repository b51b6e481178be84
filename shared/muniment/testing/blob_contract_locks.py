"""The part of the blob contract about writing once and about locks (see `blob_contract`)."""
# ruff: noqa: S101 - a contract suite is made of assertions

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from muniment.contracts.errors import Conflict, Misconfigured, NotFound
from muniment.ports.blobs import BlobStore, Lock, LockMode, ObjectLocked
from muniment.testing.blob_samples import deleted, until


class LocksContract:
    """Not used alone: part of `BlobContract`."""

    # -- writing once -------------------------------------------------------------------------------------------------

    async def test_of_many_writers_exactly_one_creates(self, store: BlobStore, bucket: str) -> None:
        lock = until(60)  # stores may make rivals wait for seconds
        results = await asyncio.gather(*(store.put_once(bucket, "race", b"same", lock=lock) for _ in range(16)))
        assert sum(result.created for result in results) == 1
        [location] = {result.location for result in results}
        assert await store.retention(location) == lock
        assert [item.version_id for item in (await store.list_versions(bucket)).items] == [location.version_id]

    async def test_of_many_different_writers_exactly_one_wins(self, store: BlobStore, bucket: str) -> None:
        results = await asyncio.gather(
            *(store.put_once(bucket, "race", b"%d" % number) for number in range(16)), return_exceptions=True
        )
        won = [number for number, result in enumerate(results) if not isinstance(result, BaseException)]
        lost = [result.code for result in results if isinstance(result, Conflict)]
        assert len(won) == 1
        assert lost == ["object_conflict"] * 15
        location = await store.stat(bucket, "race")
        assert await store.read_range(location, offset=0, length=9) == b"%d" % won[0]

    async def test_writing_again_compares_the_bytes(self, store: BlobStore, bucket: str) -> None:
        first = await store.put_once(bucket, "k", b"bytes")
        again = await store.put_once(bucket, "k", b"bytes")
        assert (first.created, again.created) == (True, False)
        assert again.location == first.location
        for other in (b"BYTES", b"byte", b""):
            with pytest.raises(Conflict) as caught:
                await store.put_once(bucket, "k", other)
            assert caught.value.code == "object_conflict"
        assert (await store.stat(bucket, "k")).version_id == first.location.version_id

    async def test_what_is_found_written_gets_the_lock_too(self, store: BlobStore, bucket: str) -> None:
        unlocked, lock = await store.put(bucket, "k", b"bytes"), until(20)
        found = await store.put_once(bucket, "k", b"bytes", lock=lock)
        assert found.location.version_id == unlocked.version_id
        assert await store.retention(unlocked) == lock

    async def test_a_hidden_key_can_be_written_once_more(self, store: BlobStore, bucket: str) -> None:
        first = await store.put_once(bucket, "k", b"one")
        await store.hide(bucket, "k")
        second = await store.put_once(bucket, "k", b"two")
        assert second.created
        assert second.location.version_id != first.location.version_id

    # -- locks --------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("mode", ["COMPLIANCE", "GOVERNANCE"])
    async def test_a_locked_version_stays(self, store: BlobStore, bucket: str, mode: LockMode) -> None:
        lock = until(20, mode)
        written = await store.put(bucket, "k", b"written locked", lock=lock)
        later = await store.put(bucket, "k", b"locked later")
        assert await store.retention(later) is None
        assert await store.lock(later, lock) == lock
        for location in (written, later):
            assert await store.retention(location) == lock
            assert (await store.stat(bucket, "k", location.version_id)).lock == lock
            with pytest.raises(ObjectLocked) as caught:
                await store.delete_version(location)
            assert caught.value.code == "object_locked"
        await store.hide(bucket, "k")
        assert await store.read_range(written, offset=0, length=99) == b"written locked"

    async def test_a_lock_is_on_one_version_only(self, store: BlobStore, bucket: str) -> None:
        locked = await store.put(bucket, "k", b"locked", lock=until(20))
        overwrite = await store.put(bucket, "k", b"overwrite")
        assert await store.retention(overwrite) is None
        await store.delete_version(overwrite)
        assert (await store.stat(bucket, "k")).version_id == locked.version_id

    @pytest.mark.parametrize("mode", ["COMPLIANCE", "GOVERNANCE"])
    async def test_a_lock_is_extended_and_never_shortened(self, store: BlobStore, bucket: str, mode: LockMode) -> None:
        short, long = until(20, mode), until(40, mode)
        location = await store.put(bucket, "k", b"x")
        for asked, holds in ((short, short), (short, short), (long, long), (short, long)):
            assert await store.lock(location, asked) == holds
            assert await store.retention(location) == holds

    @pytest.mark.parametrize(
        ("first", "second", "joined"),
        [
            (("GOVERNANCE", 40), ("COMPLIANCE", 20), ("COMPLIANCE", 40)),
            (("GOVERNANCE", 20), ("COMPLIANCE", 40), ("COMPLIANCE", 40)),
            (("COMPLIANCE", 20), ("GOVERNANCE", 40), ("COMPLIANCE", 40)),
            (("COMPLIANCE", 40), ("GOVERNANCE", 20), ("COMPLIANCE", 40)),
        ],
    )
    async def test_locks_of_two_kinds_join(
        self,
        store: BlobStore,
        bucket: str,
        first: tuple[LockMode, int],
        second: tuple[LockMode, int],
        joined: tuple[LockMode, int],
    ) -> None:
        now = datetime.now(UTC)
        locks = [Lock(mode, now + timedelta(seconds=seconds)) for mode, seconds in (first, second, joined)]
        location = await store.put(bucket, "k", b"x", lock=locks[0])
        assert await store.lock(location, locks[1]) == locks[2]
        assert await store.retention(location) == locks[2]

    async def test_a_lock_that_ends_in_the_past_is_refused(self, store: BlobStore, bucket: str) -> None:
        location = await store.put(bucket, "k", b"x")
        for attempt in (store.lock(location, until(-60)), store.put(bucket, "past", b"x", lock=until(-60))):
            with pytest.raises(Misconfigured) as caught:
                await attempt
            assert caught.value.code == "lock_refused"
        assert await store.retention(location) is None

    async def test_a_lock_runs_out(self, store: BlobStore, bucket: str) -> None:
        location = await store.put(bucket, "k", b"x", lock=until(2))
        with pytest.raises(ObjectLocked):
            await store.delete_version(location)
        await deleted(store, location, within=30)
        with pytest.raises(NotFound):
            await store.stat(bucket, "k", location.version_id)
