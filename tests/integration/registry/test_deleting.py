"""Deletion and collection: what refuses it, what stays, and a commit of the same bytes at the worst moment."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

import pytest

from muniment.contracts import topics
from muniment.contracts.errors import NotFound
from muniment.ports.blobs import Location
from muniment.ports.clock import SystemClock
from muniment.registry import collecting
from muniment.registry.keeping import Keeper

from .conftest import Registry

BYTES = {"model.bin": b"the same bytes"}


async def _delete(registry: Registry, ref: str) -> Any:
    return await registry.post("/models/digits/delete", as_="pam", ref=ref, reason="mislabelled")


async def _unlock(registry: Registry) -> None:
    """Let every lock so far have ended: in the table, and in the store."""
    rows = await registry.pool.fetch(
        "UPDATE stored_object SET locked_until = '2000-01-01Z' RETURNING bucket, key, version_id"
    )
    for row in rows:
        registry.blobs._objects.find(row["bucket"], row["key"], row["version_id"]).lock = None


async def test_a_needed_version_is_refused_with_everything_that_needs_it(registry: Registry) -> None:
    await registry.commit()
    await registry.call("PUT", "/models/digits/pointers/champion", json={"ref": "digits/1"})
    place = {"environment": "production", "deployer": "k8s"}
    await registry.post("/models/digits/deployments", status=201, ref="digits/1", state="running", **place)
    wanted = {"ref": "digits/1", "reason": "x"}
    problem = await registry.refused("POST", "/models/digits/delete", "version_needed", json=wanted)
    assert problem["details"]["needed_by"] == [
        {"kind": "branch", "name": "main"},
        {"kind": "pointer", "name": "champion"},
        {"kind": "deployment", "name": "production", "by": "k8s"},
    ]
    [entry] = await registry.audits("version.deleted")
    assert entry["outcome"] == "refused"
    await registry.refused("POST", "/models/digits/delete", "role_missing", as_="ada", json=wanted)
    await registry.commit()
    await registry.call("DELETE", "/models/digits/pointers/champion", status=204)
    await registry.post("/models/digits/deployments", status=201, ref="digits/1", state="stopped", **place)
    assert (await _delete(registry, "digits/1"))["deleted"]["by"] == "muniment|pam"


async def test_a_deleted_version_keeps_number_and_lineage_and_gives_no_files(registry: Registry) -> None:
    first = await registry.commit(files=BYTES, facts={"run_id": "r", "datasets": [{"name": "mnist"}]})
    await registry.commit(facts={"parents": [{"id": first["id"], "kind": "fine-tune"}]})
    await _delete(registry, "digits/1")
    assert (await registry.get("/resolve", ref="digits/1"))["deleted"]["reason"] == "mislabelled"
    assert [bool(item.get("deleted")) for item in (await registry.get("/models/digits/versions"))["items"]] == [
        False,
        True,
    ]
    await registry.refused("GET", "/versions/digits%2F1/files", "version_deleted")
    await registry.refused("POST", "/models/digits/delete", "version_deleted", json={"ref": "digits/1", "reason": "x"})
    up = await registry.get("/lineage", ref="digits/2", direction="up")
    assert {"version:digits/1", "dataset:mnist"} <= {node["key"] for node in up["nodes"]}
    told = [one["kind"] for one in await registry.sent(topics.REGISTRY_CHANGED)]
    assert told.count("version-deleted") == 1
    again = await registry.validated(
        "digits",
        "main",
        publication=str(uuid.uuid4()),
        files=BYTES,
        facts={"run_id": "r", "datasets": [{"name": "mnist"}]},
    )
    await registry.take(again)
    assert (await registry.sent(topics.MODEL_REJECTED))[-1]["code"] == "version_deleted"
    assert (await registry.commit())["number"] == 3


async def test_only_unlocked_bytes_that_nothing_lives_on_are_freed(registry: Registry) -> None:
    version = await registry.commit(files=BYTES)
    kept = await registry.commit()
    await _delete(registry, "digits/1")
    held = await registry.post("/gc")
    assert held["objects"] == 0  # the lock holds
    assert (held["locked"], held["locked_size"]) == (1, len(BYTES["model.bin"]))
    key = version["files"][0]["location"]["key"]
    until = await registry.pool.fetchval("SELECT locked_until FROM stored_object WHERE key = $1", key)
    assert datetime.fromisoformat(held["locked_until"]) == until
    await _unlock(registry)
    await registry.refused("POST", "/gc", "role_missing", as_="pam", json={})
    dry = await registry.post("/gc")
    assert (dry["dry_run"], dry["objects"], dry["size"]) == (True, 1, len(BYTES["model.bin"]))
    assert (dry["locked"], dry["locked_size"], dry["locked_until"]) == (0, 0, None)
    place = Location(**version["files"][0]["location"])
    await registry.blobs.stat(place.bucket, place.key, place.version_id)
    done = await registry.post("/gc", dry_run=False)
    assert (done["objects"], done["kept"], done["digest"]) == (1, 0, dry["digest"])
    with pytest.raises(NotFound):
        await registry.blobs.stat(place.bucket, place.key, place.version_id)
    live = Location(**kept["files"][0]["location"])
    await registry.blobs.stat(live.bucket, live.key, live.version_id)
    [intent] = await registry.audits("objects.condemned")
    assert [change["before"]["version_id"] for change in intent["changes"]] == [place.version_id]
    [entry] = await registry.audits("objects.collected")
    assert {"path": "digest", "after": done["digest"]} in entry["changes"]
    assert (await registry.post("/gc", dry_run=False))["objects"] == 0


async def test_a_death_between_deletion_and_record_leaves_the_entry_that_names_what_went(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = await registry.commit(files=BYTES)
    await registry.commit()
    await _delete(registry, "digits/1")
    await _unlock(registry)
    place = Location(**version["files"][0]["location"])

    def die(step: str) -> None:
        if step == "registry.objects-deleted":
            raise SystemExit(step)

    with monkeypatch.context() as patched:
        patched.setattr(collecting, "reached", die)
        with pytest.raises(SystemExit):
            await registry.post("/gc", dry_run=False)
    with pytest.raises(NotFound):
        await registry.blobs.stat(place.bucket, place.key, place.version_id)
    [intent] = await registry.audits("objects.condemned")
    [change] = intent["changes"]
    assert (change["path"], change["before"]["version_id"]) == (f"{place.bucket}/{place.key}", place.version_id)
    assert (intent["operator"], await registry.audits("objects.collected")) == ("muniment|root", [])
    assert (await registry.post("/gc", dry_run=False))["objects"] == 1  # and the next one ends it
    assert len(await registry.audits("objects.collected")) == 1


async def test_a_commit_of_the_same_bytes_between_mark_and_sweep_saves_them(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = await registry.commit(files=BYTES)
    await registry.commit()
    await _delete(registry, "digits/1")
    await _unlock(registry)
    place = Location(**version["files"][0]["location"])
    publication = await registry.validated("digits", "main", publication=str(uuid.uuid4()), files=BYTES)
    [file] = publication.files
    location = file.location.model_copy(update={"version_id": place.version_id})
    same = publication.model_copy(update={"files": (file.model_copy(update={"location": location}),)})
    delete = collecting.Collecting._delete

    async def late(self: collecting.Collecting, place: Location) -> Any:
        await registry.take(same)  # after the last look, before the store is asked
        return await delete(self, place)

    monkeypatch.setattr(collecting.Collecting, "_delete", late)
    done = await registry.post("/gc", dry_run=False)
    assert (done["objects"], done["kept"]) == (0, 1)
    await registry.blobs.stat(place.bucket, place.key, place.version_id)
    assert (await registry.get("/resolve", ref="digits@main"))["number"] == 3
    row = await registry.pool.fetchrow(
        "SELECT condemned_at, freed_at, locked_until > now() AS locked FROM stored_object WHERE version_id = $1",
        place.version_id,
    )
    assert tuple(row) == (None, None, True)


async def test_a_release_keeps_the_bytes_of_its_deleted_source(registry: Registry) -> None:
    version = await registry.commit(files=BYTES)
    await registry.commit()
    await registry.pool.execute(
        """
        INSERT INTO release (model_id, semver, precedence, prerelease, number, id, track, copy, operator, released_at,
            manifest, manifest_bucket, manifest_key, manifest_version_id, manifest_locked_until)
        SELECT model_id, '1.0.0', '1', false, number, 'r', track, 'logical', operator, now(), manifest, manifest_bucket,
            manifest_key, manifest_version_id, manifest_locked_until FROM version WHERE number = 1
        """
    )
    await registry.pool.execute(
        "INSERT INTO release_file SELECT model_id, '1.0.0', path, object_id, format, role FROM version_file WHERE number = 1"
    )
    wanted = {"ref": "digits@1.0.0", "reason": "x"}
    problem = await registry.refused("POST", "/models/digits/delete", "release_stays", json=wanted)
    assert "muniment versions delete digits/1" in problem["hint"]
    await _delete(registry, "digits/1")
    assert (await registry.post("/gc"))["locked"] == 0  # a release needs what is locked
    await _unlock(registry)
    assert (await registry.post("/gc", dry_run=False))["objects"] == 0
    place = Location(**version["files"][0]["location"])
    await registry.blobs.stat(place.bucket, place.key, place.version_id)


async def test_locks_of_what_only_deleted_versions_have_are_no_longer_extended(registry: Registry) -> None:
    gone = await registry.commit(files=BYTES)
    live = await registry.commit()
    await _delete(registry, "digits/1")
    until = "SELECT locked_until FROM stored_object WHERE version_id = $1"
    ids = [one["files"][0]["location"]["version_id"] for one in (gone, live)]
    before = [await registry.pool.fetchval(until, one) for one in ids]
    await Keeper(registry.pool, registry.blobs, SystemClock(), 10**9).extend_some()
    after = [await registry.pool.fetchval(until, one) for one in ids]
    assert (after[0] == before[0], after[1] > before[1]) == (True, True)
