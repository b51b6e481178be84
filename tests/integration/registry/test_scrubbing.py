"""Committed bytes are read again and again: what is damaged is found, refused and told."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from muniment.contracts import topics
from muniment.ports.blobs import Edges, HashResult, Location, StoreUnavailable
from muniment.ports.clock import SystemClock
from muniment.registry.keeping import Keeper
from muniment.registry.scrubbing.reading import Pace
from muniment.registry.scrubbing.wiring import Scrubbing

from .conftest import Registry
from .scrub_bench import GOOD, lose, place, replica, scrub

__all__ = ["replica"]  # a fixture


async def test_a_flipped_bit_is_found_told_and_refused_everywhere(
    registry: Registry, replica: Callable[..., Scrubbing]
) -> None:
    first = await registry.commit(files={"model.bin": GOOD, "readme.txt": b"fine"})
    await registry.post("/models/digits/promote", as_="pam", ref="digits/1", reason="first")
    await registry.post("/models/digits/releases", as_="pam", version="1.0.0", ref="digits/1")
    await registry.commit("letters", files={"w.bin": b"others"})
    await registry.commit()
    await registry.post("/models/digits/promote", as_="pam", ref="digits/2", reason="second")
    one = replica()
    fine = await scrub(registry, one)
    assert (fine["damaged_objects"], fine["bytes_done"]) == (0, fine["size"])
    assert one.scrubber.metrics.scrubbed_bytes._value.get() == fine["size"]
    assert await registry.sent(topics.INTEGRITY_VIOLATED) == []

    [damaged] = [file for file in first["files"] if file["path"] == "model.bin"]
    registry.blobs.damage(place(damaged))
    assert (await scrub(registry, one))["damaged_objects"] == 1
    await scrub(registry, one)  # found again: told once

    [event] = await registry.sent(topics.INTEGRITY_VIOLATED)
    bad = hashlib.sha256(bytes([GOOD[0] ^ 1]) + GOOD[1:]).hexdigest()
    assert (event["model"], event["code"]) == ("digits", "bytes_damaged")
    assert event["expected"] == f"sha256:{damaged['sha256']}, {len(GOOD)} B"
    assert event["actual"] == f"sha256:{bad}, {len(GOOD)} B"
    assert [(file["path"], file["version"]["number"], file.get("release")) for file in event["files"]] == [
        ("model.bin", 1, None),
        ("model.bin", 1, "1.0.0"),
    ]
    [entry] = await registry.audits("integrity.violated")
    assert entry["operator"] == "muniment|registry"
    assert "versions/1/files/model.bin" in {change["path"] for change in entry["changes"]}
    status = await registry.get("/scrub")
    assert (status["damaged_objects"], status["damaged_files"]) == (1, 2)
    [shown] = (await registry.get("/scrub/damages", model="digits"))["items"]
    assert shown["code"] == "bytes_damaged"
    assert len(shown["files"]) == 2
    assert (await registry.get("/scrub/damages", model="letters"))["items"] == []
    version = await registry.get("/resolve", ref="digits/1")
    assert [file["path"] for file in version["files"] if "damaged" in file] == ["model.bin"]

    for ref in ("digits/1", "digits@1.0.0"):
        problem = await registry.refused("GET", f"/versions/{ref}/files", "version_damaged", as_="rae")
        assert problem["status"] == 409
        assert problem["actual"] == event["actual"]
        assert f"muniment scrub repair {ref} model.bin" in problem["hint"]
    assert (await registry.get("/versions/letters%2F1/files"))["files"], "what holds other bytes is not touched"
    release = {"version": "1.1.0", "ref": "digits/1"}
    await registry.refused("POST", "/models/digits/releases", "version_damaged", as_="pam", json=release)
    back = {"to": "digits/1", "reason": "back"}
    await registry.refused("POST", "/models/digits/rollback", "bytes_damaged", as_="pam", json=back)
    forward = {"ref": "digits/1", "reason": "again"}
    problem = await registry.refused("POST", "/models/digits/promote", "promotion_refused", as_="pam", json=forward)
    assert [gate["name"] for gate in problem["details"]["gates"] if not gate["passed"]] == ["integrity"]
    assert (await registry.get("/resolve", ref="digits"))["number"] == 2


async def test_force_is_for_admins_and_leaves_an_entry(registry: Registry, replica: Callable[..., Scrubbing]) -> None:
    first = await registry.commit()
    await registry.commit()
    for number in (1, 2):
        await registry.post("/models/digits/promote", as_="pam", ref=f"digits/{number}", reason="x")
    registry.blobs.damage(place(first["files"][0]))
    await scrub(registry, replica())
    asked: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("GET", "/versions/digits%2F1/files", {"params": {"force": True}}),
        ("POST", "/models/digits/rollback", {"json": {"to": "digits/1", "reason": "x", "force": True}}),
        ("POST", "/models/digits/releases", {"json": {"version": "1.0.0", "ref": "digits/1", "force": True}}),
        ("POST", "/models/digits/promote", {"json": {"ref": "digits/1", "reason": "x", "force": True}}),
    )
    for method, path, given in asked:
        await registry.refused(method, path, "role_missing", as_="pam", **given)
        await registry.call(method, path, **given)
    assert (await registry.get("/resolve", ref="digits"))["number"] == 1
    for action in ("version.handed_out", "baseline.rolled_back", "release.published"):
        entry = (await registry.audits(action))[-1]
        assert "force" in {change["path"] for change in entry["changes"]}, action
    await registry.post("/models/digits/contract", status=405)  # nothing else was opened
    await registry.post("/models/digits/freeze", as_="pam", reason="still shut")
    other = {"to": "digits/2", "reason": "x", "force": True}
    await registry.refused("POST", "/models/digits/rollback", "rollback_refused", json=other)


async def test_a_lost_version_id_is_damage_and_keeps_no_other_lock_from_its_extension(
    registry: Registry, replica: Callable[..., Scrubbing]
) -> None:
    first = await registry.commit()
    second = await registry.commit()
    await lose(registry, place(first["files"][0]))
    one = replica()
    margin = 400 * 24 * 3600
    keeper = Keeper(registry.pool, registry.blobs, SystemClock(), margin, one.lost)
    while await keeper.extend_some():
        pass
    [event] = await registry.sent(topics.INTEGRITY_VIOLATED)
    assert (event["code"], event["files"][0]["version"]["number"]) == ("bytes_missing", 1)
    lock = await registry.blobs.retention(place(second["files"][0]))
    assert lock is not None
    assert (lock.until - SystemClock().now()).days > 700, "the other file's lock was not extended"
    assert (await scrub(registry, one))["damaged_objects"] == 1


async def test_a_store_that_does_not_answer_says_nothing_of_the_bytes(
    registry: Registry, replica: Callable[..., Scrubbing], monkeypatch: pytest.MonkeyPatch
) -> None:
    await registry.commit()
    one = replica()
    hashing = registry.blobs.hash

    async def down(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("store_unavailable", "the store is away")

    monkeypatch.setattr(registry.blobs, "hash", down)
    await registry.post("/scrub/runs", status=202)
    assert await one.scrubber.step() > 0
    assert (await registry.get("/scrub"))["last_error"].startswith("the store is away")
    assert await registry.sent(topics.INTEGRITY_VIOLATED) == []

    wrong = [True]  # the way flips a bit once: the second reading is right

    async def noisy(location: Any, **given: Any) -> Any:
        read = await hashing(location, **given)
        return replace(read, sha256="0" * 64) if wrong and wrong.pop() else read

    monkeypatch.setattr(registry.blobs, "hash", noisy)
    await registry.pool.execute("UPDATE stored_object SET scrub_until = '-infinity'")
    run = await scrub(registry, one)
    assert (run["damaged_objects"], run["waiting"], wrong) == (0, 0, [])


@pytest.mark.parametrize("away", ["", "manifests/"])
async def test_bytes_that_the_store_fails_to_give_are_damage_while_it_gives_others(
    registry: Registry, replica: Callable[..., Scrubbing], monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    rotten = place((await registry.commit())["files"][0])
    await registry.commit("letters", files={"w.bin": b"others"})
    one = replica()
    hashing = registry.blobs.hash
    failing = [rotten.version_id]

    async def failed(location: Any, **given: Any) -> Any:
        if location.version_id in failing or (away and location.key.startswith(away)):
            raise StoreUnavailable("store_unavailable", "the store did not answer as it should", actual="500")
        return await hashing(location, **given)

    monkeypatch.setattr(registry.blobs, "hash", failed)
    run = await registry.post("/scrub/runs", status=202)
    for _ in range(5):
        await one.scrubber.step()
        await registry.pool.execute(
            "UPDATE stored_object SET scrub_until = '-infinity'; UPDATE scrub_pace SET debt = 0"
        )
    told = await registry.sent(topics.INTEGRITY_VIOLATED)
    if away:  # the store fails all: an outage, and no word of the bytes
        assert (told, (await registry.get("/scrub"))["waiting"]) == ([], 1)
        return
    [event] = told
    assert (event["code"], event["files"][0]["version"]["number"]) == ("bytes_unreadable", 1)
    assert "failed 3 reads in a row" in event["actual"]
    assert (await registry.get(f"/scrub/runs/{run['id']}"))["finished_at"], "the pass waits for ever"
    problem = await registry.refused("GET", "/versions/digits%2F1/files", "version_damaged", as_="rae")
    assert "muniment scrub repair digits/1" in problem["hint"]
    assert (await scrub(registry, one))["damaged_objects"] == 1

    failing.clear()  # the store has got it back
    assert (await scrub(registry, one))["damaged_objects"] == 0
    assert len(await registry.sent(topics.INTEGRITY_RESTORED)) == 1
    assert (await registry.get("/versions/digits%2F1/files"))["files"]


async def test_two_processes_share_a_pass_and_read_nothing_twice(
    registry: Registry, replica: Callable[..., Scrubbing], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await registry.commit(files={f"{n}.bin": uuid.uuid4().bytes for n in range(20)})
    read: list[str] = []
    hashing = registry.blobs.hash

    async def counted(location: Any, **given: Any) -> Any:
        read.append(location.version_id)
        await asyncio.sleep(0)
        return await hashing(location, **given)

    monkeypatch.setattr(registry.blobs, "hash", counted)
    await registry.post("/scrub/runs", status=202)
    replicas = [replica(enabled=False), replica(enabled=False)]
    for _ in range(10):
        await asyncio.gather(*(one.scrubber.step() for one in replicas))
        await registry.pool.execute("UPDATE scrub_pace SET debt = 0")
    assert sorted(read) == sorted(set(read))
    assert len(read) == 60
    shares = [one.scrubber.metrics.scrubbed_bytes._value.get() for one in replicas]
    assert sum(shares) == 60 * 16


class Paused:
    """Reads what were other bytes, and is paused before it can tell."""

    def __init__(self) -> None:
        self.pace = Pace(1e9)
        self.reading, self.go_on = asyncio.Event(), asyncio.Event()

    async def read(self, _: Location, size: int, progress: Callable[[int], None]) -> HashResult:
        self.reading.set()
        await self.go_on.wait()
        return HashResult("0" * 64, size, Edges(b"", b""))


async def test_what_a_killed_process_had_falls_due_again_and_its_word_counts_no_more(
    registry: Registry, replica: Callable[..., Scrubbing]
) -> None:
    await registry.commit()
    dead, alive = replica(), replica()
    paused = Paused()
    dead.scrubber.reader = paused  # type: ignore[assignment]  # reason: it stands in for the reader of a slow process
    run = await registry.post("/scrub/runs", status=202)
    late = asyncio.create_task(dead.scrubber.step())
    await paused.reading.wait()
    await registry.pool.execute("UPDATE scrub_pace SET debt = 0")
    await alive.scrubber.step()
    assert alive.scrubber.metrics.scrubbed_bytes._value.get() == 0, "two read one object"
    # Paused or killed: nobody renews, and the lease ends.
    await registry.pool.execute("UPDATE stored_object SET scrub_until = '-infinity'; UPDATE scrub_pace SET debt = 0")
    await alive.scrubber.step()
    assert alive.scrubber.metrics.scrubbed_bytes._value.get() > 0
    paused.go_on.set()
    await late
    assert await registry.sent(topics.INTEGRITY_VIOLATED) == [], "who has lost the lease was believed"
    await registry.pool.execute("UPDATE scrub_pace SET debt = 0")
    await alive.scrubber.step()
    assert (await registry.get(f"/scrub/runs/{run['id']}"))["finished_at"]


async def test_damage_that_a_rollback_finds_is_recorded(registry: Registry) -> None:
    first = await registry.commit()
    for number in (1, 2):
        if number == 2:
            await registry.commit()
        await registry.post("/models/digits/promote", as_="pam", ref=f"digits/{number}", reason="x")
    registry.blobs.damage(place(first["files"][0]))
    back = {"to": "digits/1", "reason": "x"}
    await registry.refused("POST", "/models/digits/rollback", "bytes_damaged", as_="pam", json=back)
    assert len(await registry.sent(topics.INTEGRITY_VIOLATED)) == 1
    await registry.refused("GET", "/versions/digits%2F1/files", "version_damaged", as_="rae")


async def test_the_pace_is_one_for_all_and_nothing_is_read_while_it_is_off(
    registry: Registry, replica: Callable[..., Scrubbing]
) -> None:
    await registry.commit()
    off = replica(enabled=False)
    one, other = replica(cycle_s=3600), replica(cycle_s=3600)
    fresh = replica(cycle_s=3600)
    await fresh.scrubber.step()
    assert fresh.scrubber.metrics.scrubbed_bytes._value.get() == 0, "the validator has read it just now"
    await registry.pool.execute("UPDATE stored_object SET last_scrubbed_at = now() - interval '400 s'")
    await off.scrubber.step()
    assert off.scrubber.metrics.scrubbed_bytes._value.get() == 0
    await one.scrubber.step()
    assert one.scrubber.metrics.scrubbed_bytes._value.get() > 0
    await registry.pool.execute("UPDATE stored_object SET last_scrubbed_at = now() - interval '400 s'")
    # The whole registry is read once in an hour, so the next reading is an hour away, for the other process as well.
    assert 3000 < await other.scrubber.step() <= 3600
    assert other.scrubber.metrics.scrubbed_bytes._value.get() == 0
    assert other.scrubber.metrics.scrub_oldest._value.get() < 600


async def test_a_manifest_in_the_store_is_read_again_and_its_damage_is_told_once(
    registry: Registry, replica: Callable[..., Scrubbing]
) -> None:
    first = await registry.commit(files={"model.bin": GOOD})
    await registry.post("/models/digits/promote", as_="pam", ref="digits/1", reason="first")
    await registry.post("/models/digits/releases", as_="pam", version="1.0.0", ref="digits/1")
    await registry.commit()
    one = replica()

    async def walk() -> None:
        await registry.post("/scrub/runs", status=202)
        while await one.manifests.step():
            pass

    async def told() -> list[tuple[str, str]]:
        events = [*await registry.sent(topics.INTEGRITY_VIOLATED), *await registry.sent(topics.INTEGRITY_RESTORED)]
        return [(event["sha256"], event["files"][0]["path"]) for event in events]

    assert not await one.manifests.step()
    await walk()
    assert await told() == []
    rows = await registry.pool.fetch(
        "SELECT id, manifest_bucket, manifest_key, manifest_version_id FROM version WHERE number = 1 UNION ALL "
        "SELECT id, manifest_bucket, manifest_key, manifest_version_id FROM release"
    )
    ids = {row["id"].removeprefix("sha256:") for row in rows}
    for row in rows:
        registry.blobs.damage(Location(*list(row)[1:]))
    await walk()
    await walk()
    assert sorted(await told()) == sorted((one, "(manifest)") for one in ids)
    assert (await registry.get("/scrub"))["damaged_manifests"] == 2
    assert len(await registry.audits("integrity.violated")) == 2
    for row in rows:
        registry.blobs.damage(Location(*list(row)[1:]))  # flipped back: the store has mended itself
    await walk()
    assert len(await registry.audits("integrity.restored")) == 2
    assert (await registry.get("/scrub"))["damaged_manifests"] == 0
    assert first["number"] == 1


@pytest.mark.parametrize("outage", [False, True])
async def test_a_manifest_that_the_store_fails_to_give_is_damage_and_the_walk_goes_on(
    registry: Registry, replica: Callable[..., Scrubbing], monkeypatch: pytest.MonkeyPatch, outage: bool
) -> None:
    versions = [await registry.commit(f"model-{number}") for number in range(3)]
    rotten = min(versions, key=lambda version: version["id"])  # the walk goes by id: it meets this one first
    damaged = max(versions, key=lambda version: version["id"])
    one = replica()
    hashing = registry.blobs.hash
    failing = [rotten["manifest_location"]["version_id"]]

    async def failed(location: Any, **given: Any) -> Any:
        if outage or location.version_id in failing:
            raise StoreUnavailable("store_unavailable", "the store did not answer as it should", actual="500")
        return await hashing(location, **given)

    async def walk(turns: int) -> None:
        await registry.post("/scrub/runs", status=202)
        for _ in range(turns):
            try:
                await one.manifests.step()
            except StoreUnavailable:
                assert not await one.manifests.step(), "the store is asked again without a rest"
            await registry.pool.execute("UPDATE manifest_round SET rest_until = '-infinity'")

    monkeypatch.setattr(registry.blobs, "hash", failed)
    registry.blobs.damage(Location(**damaged["manifest_location"]))
    await walk(4)
    told = {event["sha256"]: event["code"] for event in await registry.sent(topics.INTEGRITY_VIOLATED)}
    if outage:
        assert told == {}
        return
    ids = [version["id"].removeprefix("sha256:") for version in (rotten, damaged)]
    assert told == dict(zip(ids, ("bytes_unreadable", "bytes_damaged"), strict=True))
    assert (await registry.get("/scrub"))["damaged_manifests"] == 2
    await walk(1)  # known: passed over, and not told again
    assert len(await registry.sent(topics.INTEGRITY_VIOLATED)) == 2

    failing.clear()
    await walk(1)
    assert (await registry.get("/scrub"))["damaged_manifests"] == 1
    assert [event["sha256"] for event in await registry.sent(topics.INTEGRITY_RESTORED)] == ids[:1]
