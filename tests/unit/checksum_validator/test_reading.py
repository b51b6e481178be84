"""What the validator says of bytes that are gone: the publisher's fault where they were named, the store's where it
has just acknowledged them."""

from __future__ import annotations

import hashlib

import pytest

from muniment.adapters.memory import MemoryBlobStore
from muniment.checksum_validator.reading import FileReader
from muniment.contracts.errors import MunimentError
from muniment.contracts.events import StagedFile
from muniment.ports.blobs import Location

DATA = b"weights"


class Forgetful(MemoryBlobStore):
    """Acknowledges what is written to our bucket and does not keep it."""

    async def put(self, bucket: str, key: str, data: bytes, **options: object) -> Location:
        place = await super().put(bucket, key, data)
        return place if bucket != "models" else Location(bucket, key, "never")


async def said(origin: str, *, lost: bool) -> str:
    store = Forgetful()
    await store.ensure_bucket("models", object_lock=True)
    await store.ensure_bucket("landing", object_lock=False)
    place = await store.put("landing", "model.bin", DATA)
    file = StagedFile.model_validate(
        {
            "path": "model.bin",
            "sha256": hashlib.sha256(DATA).hexdigest(),
            "size": len(DATA),
            "location": {"bucket": "landing", "key": "model.bin", "version_id": "gone" if lost else place.version_id},
            "origin": origin,
        }
    )
    with pytest.raises(MunimentError) as caught:
        await FileReader(store, "models", allow_executable=False).read(file, lambda _: None)
    return f"{type(caught.value).__name__} {caught.value.code}"


@pytest.mark.parametrize("origin", ["landing", "held"])
async def test_what_was_named_and_is_gone_is_a_fact_about_the_publication(origin: str) -> None:
    assert await said(origin, lost=True) == "Rejected file_missing"


async def test_a_copy_that_was_acknowledged_and_is_not_there_is_made_again() -> None:
    assert await said("landing", lost=False) == "Transient store_inconsistent"
