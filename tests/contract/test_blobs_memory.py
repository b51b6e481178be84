"""The in-memory store is held to the contract of the real ones."""

from __future__ import annotations

import pytest

from muniment.adapters.memory import MemoryBlobStore
from muniment.testing.blob_contract import BlobContract, Send, empty_bucket
from muniment.testing.blob_samples import until


class TestMemoryBlobStore(BlobContract):
    @pytest.fixture
    def store(self) -> MemoryBlobStore:
        return MemoryBlobStore()

    @pytest.fixture
    def send(self, store: MemoryBlobStore) -> Send:
        return store.send


async def test_a_bucket_is_emptied_once_its_locks_have_run_out() -> None:
    store = MemoryBlobStore()
    await store.ensure_bucket("bucket", object_lock=True)
    for key in ("a", "b"):
        await store.put("bucket", key, b"x", lock=until(0.5))
        await store.hide("bucket", key)
    await empty_bucket(store, "bucket", within=30)
    assert (await store.list_versions("bucket")).items == ()
