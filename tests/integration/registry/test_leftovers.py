"""The registry's sweep: what no version and no release came of goes, by place; what is needed or young never does."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from muniment.contracts.errors import NotFound
from muniment.ports.blobs import Location, Lock
from muniment.registry import releases, sweeping

from .conftest import BUCKET, Registry

OWN = "edge-models"
OLD = timedelta(days=30)


def key_of(data: bytes, prefix: str = "blobs/sha256/") -> str:
    digest = hashlib.sha256(data).hexdigest()
    return f"{prefix}{digest[:2]}/{digest}"


async def put(registry: Registry, data: bytes, *, key: str | None = None, bucket: str = BUCKET) -> Location:
    """An object that was stored long ago."""
    there = await registry.blobs.put(bucket, key or key_of(data), data)
    at = Location(there.bucket, there.key, there.version_id)
    age(registry, at)
    return at


def age(registry: Registry, at: Location, lock_ended: timedelta | None = None) -> None:
    """Let it be stored long ago, and its lock (if `lock_ended`) have ended so long ago."""
    held = registry.blobs._objects.find(at.bucket, at.key, at.version_id)
    held.last_modified = datetime.now(UTC) - 3 * OLD
    if lock_ended is not None:
        held.lock = Lock("COMPLIANCE", datetime.now(UTC) - lock_ended)


async def exists(registry: Registry, at: Location) -> bool:
    try:
        await registry.blobs.stat(at.bucket, at.key, at.version_id)
    except NotFound:
        return False
    return True


async def sweep(registry: Registry, *, dry_run: bool = False, limit: int = 1000) -> dict[tuple[str, str], int]:
    """All pages; how many went (or would go) by place, without those that have none."""
    found: dict[tuple[str, str], int] = {}
    for page in await pages(registry, dry_run=dry_run, limit=limit):
        at = (page["place"]["bucket"], page["place"]["prefix"])
        found[at] = found.get(at, 0) + page["leftovers"]
    return {place: count for place, count in found.items() if count}


async def pages(registry: Registry, *, dry_run: bool = True, limit: int = 1000) -> list[dict[str, Any]]:
    """All answers of one sweep."""
    answers: list[dict[str, Any]] = []
    token: str | None = None
    while True:
        query = {"limit": limit, **({"page_token": token} if token else {})}
        page = await registry.call("POST", "/gc/leftovers", json={"dry_run": dry_run}, params=query)
        answers.append(page)
        if (token := page["next_page_token"]) is None:
            return answers


@pytest.fixture
async def leftovers(registry: Registry) -> dict[str, Location]:
    """What a sweep is to take, in every place; and the track that has its own bucket."""
    await registry.call("PUT", "/tracks/edge", json={"retention_s": 3600, "bucket": OWN})
    locked = await put(registry, b"locked for a version that never came")
    age(registry, locked, OLD)
    parts = await registry.blobs.create_multipart(OWN, key_of(b"big", "releases/blobs/"))
    registry.blobs._uploads[parts].initiated -= OLD
    return {
        "locked": locked,
        "copy": await put(registry, b"copy", key=key_of(b"copy", "releases/blobs/")),
        "own": await put(registry, b"copy", key=key_of(b"copy", "releases/blobs/"), bucket=OWN),
        "parts": Location(OWN, key_of(b"big", "releases/blobs/"), parts),
    }


async def test_leftovers_go_from_every_place_and_dry_run_tells_them_by_place(
    registry: Registry, leftovers: dict[str, Location]
) -> None:
    expected = {
        (BUCKET, "blobs/sha256/"): 1,
        (BUCKET, "releases/"): 1,
        (OWN, "releases/"): 1,
        (OWN, "releases/blobs/"): 1,
    }
    assert await sweep(registry, dry_run=True) == expected
    assert all([await exists(registry, leftovers[name]) for name in ("locked", "copy", "own")])
    assert await registry.audits("leftovers.condemned") == []
    assert await sweep(registry, limit=1) == expected
    assert not any([await exists(registry, leftovers[name]) for name in ("locked", "copy", "own")])
    assert (await registry.blobs.list_uploads(OWN)).items == ()
    named = [
        [change["before"]["id"] for entry in await registry.audits(action) for change in entry["changes"]]
        for action in ("leftovers.condemned", "leftovers.swept")
    ]
    assert named[0] == named[1]
    assert sorted(named[0]) == sorted(one.version_id for one in leftovers.values())
    assert await sweep(registry) == {}
    await registry.refused("POST", "/gc/leftovers", "role_missing", as_="pam", json={})


async def test_nothing_goes_that_anything_needs_or_that_is_young(registry: Registry) -> None:
    await registry.call("PUT", "/tracks/edge", json={"retention_s": 3600, "bucket": OWN})
    version = await registry.commit(files={"model.bin": b"weights"})
    body = {"version": "1.0.0", "ref": "digits/1", "track": "edge", "copy": "physical"}
    released = await registry.post("/models/digits/releases", as_="pam", **body)
    waiting = (await registry.validated("digits", "main", publication=str(uuid.uuid4()), files={"w": b"w"})).model_copy(
        update={"commit": "manual"}
    )
    await registry.take(waiting)
    [file] = waiting.files
    needed = [
        Location(**version["files"][0]["location"]),
        Location(**released["files"][0]["location"]),
        Location(file.location.bucket, file.location.key, file.location.version_id),
    ]
    for at in needed:  # even where every lock has ended long ago
        age(registry, at, OLD)
    upload = await put(registry, b"a running upload was never locked")
    young = await put(registry, b"its lock has just ended")
    age(registry, young, timedelta(days=1))
    locked = await put(registry, b"its lock holds")
    age(registry, locked, -OLD)
    fresh = (await registry.blobs.put(OWN, key_of(b"just copied", "releases/blobs/"), b"just copied")).version_id
    others = await put(registry, b"{}", key="releases/digits/1.0.0/manifest.json", bucket=OWN)
    assert await sweep(registry) == {}
    for at in (*needed, upload, young, locked, others):
        assert await exists(registry, at), at
    assert fresh in {one.version_id for one in (await registry.blobs.list_versions(OWN)).items}


async def begun(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Location:
    """The manifest of a release that died between its bytes and its record, into a bucket that its track then left."""
    await registry.call("PUT", "/tracks/edge", json={"retention_s": 3600, "bucket": OWN})
    await registry.commit()

    def die(step: str) -> None:
        if step == "registry.release-stored":
            raise SystemExit(step)

    with monkeypatch.context() as dying:
        dying.setattr(releases, "reached", die)
        with pytest.raises(SystemExit):
            await registry.post("/models/digits/releases", as_="pam", version="1.0.0", ref="digits/1", track="edge")
    for bucket in ("edge-models-2", "edge-models-3", None):
        await registry.call("PUT", "/tracks/edge", json={"bucket": bucket})
    [manifest] = (await registry.blobs.list_versions(OWN)).items
    at = Location(manifest.bucket, manifest.key, manifest.version_id)
    age(registry, at)
    return at


async def test_a_begun_releases_manifest_goes_from_a_bucket_that_its_track_has_left_once_its_lock_ended(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = await begun(registry, monkeypatch)
    assert await sweep(registry) == {}
    named = [item for page in await pages(registry) for item in page["locked_items"] if item["bucket"] == OWN]
    assert [(item["key"], item["id"]) for item in named] == [(manifest.key, manifest.version_id)]
    assert await exists(registry, manifest)
    assert await registry.audits("leftovers.condemned") == []

    age(registry, manifest, OLD)
    assert await sweep(registry, dry_run=True) == {(OWN, "releases/"): 1}
    assert await exists(registry, manifest)
    assert await sweep(registry) == {(OWN, "releases/"): 1}
    assert not await exists(registry, manifest)
    for action in ("leftovers.condemned", "leftovers.swept"):
        [entry] = await registry.audits(action)
        assert [change["before"]["id"] for change in entry["changes"]] == [manifest.version_id]
    await registry.post("/models/digits/releases", as_="pam", version="1.0.0", ref="digits/1", track="edge")  # anew


async def test_manifests_of_versions_and_releases_stay_even_where_their_locks_have_ended(registry: Registry) -> None:
    await registry.call("PUT", "/tracks/edge", json={"retention_s": 3600, "bucket": OWN})
    await registry.commit()
    await registry.post("/models/digits/releases", as_="pam", version="1.0.0", ref="digits/1", track="edge")
    await registry.call("PUT", "/tracks/edge", json={"bucket": None})
    listed = [*(await registry.blobs.list_versions(OWN)).items, *(await registry.blobs.list_versions(BUCKET)).items]
    manifests = [Location(one.bucket, one.key, one.version_id) for one in listed if one.key.endswith(".json")]
    assert len(manifests) == 2
    refused = await put(registry, b"{}", key=f"manifests/digits/{hashlib.sha256(b'{}').hexdigest()}.json")
    for at in (*manifests, refused):
        age(registry, at, OLD)
    assert await sweep(registry) == {(BUCKET, "manifests/"): 1}
    assert [await exists(registry, at) for at in (*manifests, refused)] == [True, True, False]


async def test_a_left_bucket_that_is_gone_stops_no_sweep(registry: Registry, leftovers: dict[str, Location]) -> None:
    await registry.call("PUT", "/tracks/edge", json={"bucket": "edge-models-2"})
    del registry.blobs._objects._buckets[OWN]
    assert await sweep(registry) == {(BUCKET, "blobs/sha256/"): 1, (BUCKET, "releases/"): 1}
    del registry.blobs._objects._buckets["edge-models-2"]  # in use: this is damage, and told
    with pytest.raises(AssertionError, match="bucket_not_found"):
        await sweep(registry)


async def test_a_lock_that_comes_between_the_look_and_the_deletion_saves_the_bytes(
    registry: Registry, leftovers: dict[str, Location], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = leftovers["locked"]

    def commit(step: str) -> None:
        if step == "registry.leftovers-condemned":
            age(registry, at, -OLD)

    monkeypatch.setattr(sweeping, "reached", commit)
    assert (BUCKET, "blobs/sha256/") not in await sweep(registry)
    assert await exists(registry, at)
    told = [change["before"]["id"] for one in await registry.audits("leftovers.swept") for change in one["changes"]]
    assert at.version_id not in told


async def test_a_death_in_the_middle_leaves_the_entry_that_names_what_went(
    registry: Registry, leftovers: dict[str, Location], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(step: str) -> None:
        if step == "registry.leftovers-deleted":
            raise SystemExit(step)

    monkeypatch.setattr(sweeping, "reached", die)
    with pytest.raises(SystemExit):
        await sweep(registry)
    assert not await exists(registry, leftovers["own"])  # in the first place that has any
    entries: list[Any] = await registry.audits("leftovers.condemned")
    assert [change["before"]["id"] for one in entries for change in one["changes"]] == [leftovers["own"].version_id]
    assert await registry.audits("leftovers.swept") == []
