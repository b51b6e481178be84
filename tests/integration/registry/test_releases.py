"""Releases: copies of their own that nothing done to their source can reach, and how they are named."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest

from muniment.contracts import topics
from muniment.contracts.errors import NotFound, Transient
from muniment.contracts.ids import VersionId
from muniment.ports.blobs import Location, ObjectLocked
from muniment.ports.clock import SystemClock
from muniment.registry.keeping import Keeper
from muniment.registry.references import find_version

from .conftest import BUCKET, Registry

OWN = "edge-models"


async def release(registry: Registry, version: str, ref: str, *, status: int = 200, **given: Any) -> dict[str, Any]:
    answer = await registry.post("/models/digits/releases", as_="pam", status=status, version=version, ref=ref, **given)
    return dict(answer)


async def refused(registry: Registry, version: str, ref: str, code: str, **given: Any) -> dict[str, Any]:
    body = {"version": version, "ref": ref, **given}
    return await registry.refused("POST", "/models/digits/releases", code, as_="pam", json=body)


def place(location: dict[str, str]) -> Location:
    return Location(location["bucket"], location["key"], location["version_id"])


async def read(registry: Registry, location: dict[str, str]) -> bytes:
    data = await registry.blobs.read_whole(place(location))
    assert data is not None
    return data


async def stored(registry: Registry, *buckets: str) -> int:
    """How many versions of objects lie there."""
    return sum([len((await registry.blobs.list_versions(bucket)).items) for bucket in buckets])


async def delete(registry: Registry, number: int) -> None:
    await registry.pool.execute(
        "INSERT INTO tombstone SELECT id, $1, 'mislabelled', 'muniment|root', now() FROM model WHERE name = 'digits'",
        number,
    )


async def test_a_release_has_its_own_manifest_lock_event_and_entry(registry: Registry) -> None:
    version = await registry.commit(files={"a.bin": b"a", "b.bin": b"b", "copy-of-a.bin": b"a"}, accuracy=0.9)
    made = await release(registry, "1.0.0", "digits@main", notes="the first", reason="it is good")
    assert (made["source"], made["track"], made["copy"]) == (
        {"number": 1, "id": version["id"]},
        "production",
        "logical",
    )
    text = await read(registry, made["manifest_location"])
    assert f"sha256:{hashlib.sha256(text).hexdigest()}" == made["id"] != version["id"]
    said = json.loads(text)
    assert (said["schema"], said["release"], said["source"]["id"]) == ("muniment.release/v1", "1.0.0", version["id"])
    assert said["facts"]["metrics"] == {"accuracy": 0.9}
    assert [file["location"] for file in said["files"]] == [file["location"] for file in made["files"]]
    lock = await registry.blobs.retention(place(made["manifest_location"]))
    assert lock is not None
    assert lock.mode == "COMPLIANCE"

    (event,) = await registry.sent(topics.RELEASE_PUBLISHED)
    assert (event["release"], event["id"], event["prerelease"]) == ("1.0.0", made["id"], False)
    (entry,) = await registry.audits("release.published")
    assert (entry["operator"], entry["reason"], entry["resource"]) == (
        "muniment|pam",
        "it is good",
        "models/digits/releases/1.0.0",
    )
    assert {"path": "versions/1/stability", "before": "candidate", "after": "stable"} in entry["changes"]
    assert (await registry.get("/resolve", ref="digits/1"))["stability"] == "stable"

    assert await release(registry, "1.0.0", "digits/1") == made, "the same again is the same"
    assert len(await registry.audits("release.published")) == 1


async def test_a_reference_to_a_release_answers_with_its_own_copy(registry: Registry) -> None:
    await registry.call("PUT", "/tracks/edge", json={"retention_s": 3600, "bucket": OWN})
    version = await registry.commit(files={"model.bin": b"weights"})
    made = await release(registry, "1.0.0", "digits/1", track="edge", copy="physical")
    found = await registry.get("/resolve", ref="digits@^1")
    assert (found["id"], found["release"]["semver"], found["release"]["id"]) == (version["id"], "1.0.0", made["id"])
    assert found["release"]["manifest_location"] == made["manifest_location"]
    assert [file["location"]["bucket"] for file in found["files"]] == [OWN]
    downloads = await registry.get("/versions/digits@1.0.0/files")
    assert (await registry.blobs.send("GET", downloads["files"][0]["url"])).body == b"weights"
    answer = await registry.client.get("/versions/digits@1.x/manifest", headers={"authorization": "Bearer rae"})
    assert f"sha256:{hashlib.sha256(answer.content).hexdigest()}" == made["id"]
    by_number = await registry.get("/resolve", ref="digits/1")
    assert by_number["release"] is None
    assert [file["location"]["bucket"] for file in by_number["files"]] == [BUCKET]


@pytest.mark.parametrize("copy", ["logical", "physical"])
async def test_nothing_done_to_the_source_reaches_a_release(registry: Registry, copy: str) -> None:
    files = {"model.bin": b"weights", "config.json": b"{}"}
    version = await registry.commit(files=files, branch="exp/a")
    made = await release(registry, "1.0.0", "digits@exp/a", copy=copy)
    await registry.commit(branch="exp/a")  # the branch goes on
    await delete(registry, version["number"])
    await registry.pool.execute("UPDATE version SET description = 'patched', tags = '{}' WHERE number = 1")
    for file in [*version["files"], *made["files"]]:
        where = file["location"]
        await registry.blobs.put(where["bucket"], where["key"], b"overwritten")
        await registry.blobs.hide(where["bucket"], where["key"])
    for location in [made["manifest_location"], *(file["location"] for file in made["files"])]:
        with pytest.raises(ObjectLocked):
            await registry.blobs.delete_version(place(location))

    found = await registry.get("/resolve", ref="digits@1.0.0")
    assert (found["release"]["id"], found["files"]) == (made["id"], made["files"])
    downloads = await registry.get("/versions/digits@1.0.0/files")
    got = {file["path"]: (await registry.blobs.send("GET", file["url"])).body for file in downloads["files"]}
    assert got == files
    assert await registry.get("/models/digits/releases/1.0.0") == made


async def test_a_physical_release_needs_nothing_outside_its_tracks_bucket(registry: Registry) -> None:
    """A deployer with credentials for that bucket alone: no registry, no other bucket, not even the source's bytes."""
    await registry.call("PUT", "/tracks/edge", json={"retention_s": 3600, "bucket": OWN})
    files = {"model.bin": b"weights", "twin.bin": b"weights", "config.json": b"{}"}
    version = await registry.commit(files=files)
    await release(registry, "1.0.0", "digits/1", track="edge", copy="physical")
    del registry.blobs._objects._buckets[BUCKET]

    listed = await registry.blobs.list_versions(OWN, prefix="releases/digits/1.0.0/")
    (manifest,) = [item.key for item in listed.items]
    there = await registry.blobs.stat(OWN, manifest)
    text = json.loads(await registry.blobs.read_whole(there) or b"")
    assert {file["location"]["bucket"] for file in text["files"]} == {OWN}
    assert {file["path"]: await read(registry, file["location"]) for file in text["files"]} == files
    for file in text["files"]:
        assert await registry.blobs.retention(place(file["location"])) is not None
    facts = {name: value for name, value in version["manifest"].items() if name not in {"schema", "model", "files"}}
    assert text["facts"] == facts


async def test_a_second_try_after_a_crash_finds_what_the_first_has_stored(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    await registry.call("PUT", "/tracks/edge", json={"retention_s": 3600, "bucket": OWN})
    await registry.commit()

    def crash(_: str) -> None:
        raise Transient("crashed", "between the store and the transaction")

    with monkeypatch.context() as patch:
        patch.setattr("muniment.registry.releases.reached", crash)
        await release(registry, "1.0.0", "digits/1", track="edge", copy="physical", status=503)
    await registry.get("/models/digits/releases/1.0.0", status=404)
    before = await stored(registry, BUCKET, OWN)
    made = await release(registry, "1.0.0", "digits/1", track="edge", copy="physical")
    assert await stored(registry, BUCKET, OWN) == before
    assert (await registry.get("/resolve", ref="digits@1.0.0"))["release"]["id"] == made["id"]


async def test_of_those_who_release_at_once_one_wins(registry: Registry) -> None:
    for _ in range(3):
        await registry.commit()

    async def attempt(number: int) -> int:
        body = {"version": "1.0.0", "ref": f"digits/{number}"}
        headers = {"authorization": "Bearer pam"}
        return (await registry.client.post("/models/digits/releases", json=body, headers=headers)).status_code

    answers = await asyncio.gather(*(attempt(1 + place % 3) for place in range(6)))
    winner = (await registry.get("/models/digits/releases/1.0.0"))["source"]["number"]
    assert answers == [200 if 1 + place % 3 == winner else 409 for place in range(6)]
    assert len(await registry.sent(topics.RELEASE_PUBLISHED)) == 1


async def test_what_no_release_can_be_made_of(registry: Registry) -> None:
    await registry.commit()
    await registry.commit()
    await registry.commit("letters")
    await release(registry, "1.0.0", "digits/1")
    problem = await refused(registry, "v1.2", "digits/1", "semver_invalid")
    assert problem["hint"] == "write 1.2.0"
    await refused(registry, "1.0.0", "digits/2", "release_exists")
    await refused(registry, "1.0.0+again", "digits/1", "release_exists")
    await refused(registry, "1.1.0", "letters/1", "reference_elsewhere")
    await refused(registry, "1.1.0", "digits@exp/none", "reference_not_found")
    await refused(registry, "1.1.0", "digits/2", "track_unknown", track="nowhere")
    await refused(registry, "1.1.0", "digits/2", "schema_invalid", copy="half")
    await delete(registry, 2)
    await refused(registry, "1.1.0", "digits/2", "version_deleted")
    body = {"version": "1.1.0", "ref": "digits/1"}
    await registry.refused("POST", "/models/digits/releases", "role_missing", as_="ada", json=body)
    refusals = [one for one in await registry.audits("release.published") if one["outcome"] == "refused"]
    assert [one["reason"].split(":")[0] for one in refusals] == ["release_exists", "release_exists", "version_deleted"]


async def test_damaged_and_missing_bytes_are_not_released(registry: Registry) -> None:
    version = await registry.commit(files={"model.bin": b"weights"})
    where = version["files"][0]["location"]
    object_ = registry.blobs._objects.find(where["bucket"], where["key"], where["version_id"])
    object_.data = b"WEIGHTS"
    for copy, code in (("physical", "bytes_damaged"), ("logical", "version_damaged")):  # found once, known from then on
        problem = await refused(registry, "1.0.0", "digits/1", code, copy=copy)
        assert "model.bin" in problem["detail"]
    for number, copy in ((2, "logical"), (3, "physical")):
        where = (await registry.commit())["files"][0]["location"]
        registry.blobs._objects.bucket(BUCKET).keys[where["key"]].clear()
        await refused(registry, "1.0.0", f"digits/{number}", "bytes_missing", copy=copy)


async def test_releases_are_listed_and_chosen_by_precedence(registry: Registry) -> None:
    await registry.commit()
    for version in ("1.0.0", "1.10.0", "1.2.10", "1.2.9+build.7", "2.0.0-rc.2", "2.0.0-rc.10", "0.9.0"):
        await release(registry, version, "digits/1")
    order, token = [], None
    while True:
        page = await registry.get("/models/digits/releases", limit=3, page_token=token)
        order += [one["semver"] for one in page["items"]]
        if (token := page["next_page_token"]) is None:
            break
    assert order == ["2.0.0-rc.10", "2.0.0-rc.2", "1.10.0", "1.2.10", "1.2.9+build.7", "1.0.0", "0.9.0"]
    for wanted, chosen in {
        "*": "1.10.0",
        "^1": "1.10.0",
        "~1.2": "1.2.10",
        "1.2 - 1.4": "1.2.10",
        ">=1 <1.2.10": "1.2.9+build.7",
        ">=2.0.0-rc.1": "2.0.0-rc.10",
        "^0.9 || ~1.0": "1.0.0",
        "1.2.9+build.7": "1.2.9+build.7",
    }.items():
        assert (await registry.get("/resolve", ref=f"digits@{wanted}"))["release"]["semver"] == chosen, wanted
    problem = await registry.refused("GET", "/resolve", "reference_not_found", params={"ref": "digits@^3"})
    assert "1.10.0" in problem["expected"]
    problem = await registry.refused("GET", "/resolve", "reference_not_found", params={"ref": "digits@4"})
    assert "digits/4" in problem["hint"]
    assert (await registry.get("/resolve", ref="digits/1"))["stability"] == "stable"


async def test_a_range_means_what_was_released_at_the_moment(registry: Registry) -> None:
    await registry.commit()
    await release(registry, "1.0.0", "digits/1")
    moment = SystemClock().now()
    await registry.commit()
    await release(registry, "1.1.0", "digits/2")
    assert (await find_version(registry.pool, "digits@^1"))["release"] == "1.1.0"
    assert (await find_version(registry.pool, "digits@^1", moment))["release"] == "1.0.0"
    with pytest.raises(NotFound) as caught:
        await find_version(registry.pool, "digits@1.1.0", moment)
    assert caught.value.code == "reference_not_found"


async def test_a_prerelease_is_not_stable(registry: Registry) -> None:
    await registry.commit()
    await release(registry, "1.0.0-rc.1", "digits/1")
    assert (await registry.get("/resolve", ref="digits/1"))["stability"] == "candidate"
    (event,) = await registry.sent(topics.RELEASE_PUBLISHED)
    assert event["prerelease"] is True


async def test_what_a_release_refers_to_is_kept(registry: Registry) -> None:
    await registry.call("PUT", "/tracks/edge", json={"retention_s": 60, "bucket": OWN})
    await registry.commit()
    made = await release(registry, "1.0.0", "digits/1", track="edge", copy="physical")
    keeper = Keeper(registry.pool, registry.blobs, SystemClock(), 3600)
    assert await keeper.extend_some() == 2
    assert await keeper.extend_some() == 0
    for location in (made["files"][0]["location"], made["manifest_location"]):
        lock = await registry.blobs.retention(place(location))
        assert lock is not None
        assert (lock.until - SystemClock().now()).total_seconds() > 7000


async def test_a_releases_id_is_no_versions(registry: Registry) -> None:
    await registry.commit()
    made = await release(registry, "1.0.0", "digits/1")
    wanted = VersionId(made["id"])
    await registry.refused("GET", "/resolve", "reference_not_found", params={"ref": f"digits@{wanted}"})
