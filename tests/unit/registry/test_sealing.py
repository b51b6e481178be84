"""Sealing believes only what the store shows: an acknowledged write is looked at before a version may refer to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from muniment.adapters.memory import MemoryBlobStore
from muniment.contracts.errors import Misconfigured, NotFound, Transient
from muniment.contracts.events import ModelValidated
from muniment.ports.blobs import ObjectVersion
from muniment.ports.clock import SystemClock
from muniment.registry.domain import Draft, Track, draft
from muniment.registry.sealing import Sealer

BUCKET = "models"


class Forgetful(MemoryBlobStore):
    """Acknowledges manifests and has none of them."""

    async def stat(self, bucket: str, key: str, version_id: str | None = None) -> ObjectVersion:
        if key.startswith("manifests/"):
            raise NotFound("object_not_found", "never heard of it")
        return await super().stat(bucket, key, version_id)


class Unlocked(MemoryBlobStore):
    """Takes locks and keeps none."""

    async def stat(self, bucket: str, key: str, version_id: str | None = None) -> ObjectVersion:
        return replace(await super().stat(bucket, key, version_id), lock=None)


async def sealed_draft(store: MemoryBlobStore) -> Draft:
    await store.ensure_bucket(BUCKET, object_lock=True)
    place = await store.put(BUCKET, "blob", b"x")
    publication = ModelValidated.model_validate(
        {
            "publication_id": "00000000-0000-0000-0000-000000000001",
            "model": "digits",
            "operator": "muniment|ci",
            "authenticated_by": "token",
            "facts": {"run_id": "run"},
            "files": [
                {
                    "path": "a",
                    "sha256": "a" * 64,
                    "size": 1,
                    "format": "unknown",
                    "location": {"bucket": place.bucket, "key": place.key, "version_id": place.version_id},
                }
            ],
        }
    )
    return draft(publication, {name: Track(name, "COMPLIANCE", 60) for name in ("production", "experimental")})


async def test_what_is_sealed_is_there_and_locked() -> None:
    store = MemoryBlobStore()
    made = await sealed_draft(store)
    sealed = await Sealer(store, SystemClock(), BUCKET).seal(made)
    manifest = await store.stat(BUCKET, sealed.manifest.key, sealed.manifest.version_id)
    assert manifest.lock is not None
    assert manifest.lock.until >= sealed.locked_until


async def test_a_manifest_that_was_acknowledged_and_is_not_there_is_tried_again() -> None:
    store = Forgetful()
    made = await sealed_draft(store)
    with pytest.raises(Transient) as caught:
        await Sealer(store, SystemClock(), BUCKET).seal(made)
    assert caught.value.code == "store_inconsistent"


async def test_a_manifest_without_its_lock_is_never_recorded() -> None:
    store = Unlocked()
    made = await sealed_draft(store)
    with pytest.raises(Misconfigured) as caught:
        await Sealer(store, SystemClock(), BUCKET).seal(made)
    assert (caught.value.code, caught.value.actual) == ("lock_refused", "no lock")
