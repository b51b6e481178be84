"""Damaged bytes are repaired from any good copy, by whoever has one."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from muniment.contracts import topics
from muniment.ports.clock import SystemClock
from muniment.registry.scrubbing.wiring import Scrubbing

from .conftest import BUCKET, Registry
from .scrub_bench import GOOD, lose, place, replica, scrub

__all__ = ["replica"]  # a fixture


async def test_the_same_file_in_any_later_publication_repairs(
    registry: Registry, replica: Callable[..., Scrubbing]
) -> None:
    publication = str(uuid.uuid4())
    await registry.take(await registry.validated("digits", "main", publication=publication, files={"m.bin": GOOD}))
    first = await registry.get("/resolve", ref="digits/1")
    await registry.post("/models/digits/releases", as_="pam", version="1.0.0", ref="digits/1")
    one = replica()
    for again in ("another version", "the same manifest"):
        at = place((await registry.get("/resolve", ref="digits/1"))["files"][0])
        registry.blobs.damage(at)
        await scrub(registry, one)
        await registry.refused("GET", "/versions/digits%2F1/files", "version_damaged", as_="rae")
        if again == "another version":
            await registry.commit("letters", files={"elsewhere.bin": GOOD}, track="experimental")
        else:
            more = str(uuid.uuid4())
            await registry.take(await registry.validated("digits", "main", publication=more, files={"m.bin": GOOD}))
        assert len((await registry.get("/models/digits/versions"))["items"]) == 1
        await one.scrubber.step()
        for ref in ("digits/1", "digits@1.0.0"):
            [file] = (await registry.get(f"/versions/{ref.replace('/', '%2F')}/files"))["files"]
            assert place(file) != at
            assert "damaged" not in file
            lock = await registry.blobs.retention(place(file))
            assert lock is not None
            assert lock.mode == "COMPLIANCE"
            assert (lock.until - SystemClock().now()).days >= 364, "the good bytes are kept for a shorter time"
        event = (await registry.sent(topics.INTEGRITY_RESTORED))[-1]
        assert event["previous"]["version_id"] == at.version_id
        entry = [one for one in await registry.audits("integrity.restored") if one["model"] == "digits"][-1]
        assert {"versions/1/files/m.bin", "releases/1.0.0/files/m.bin"} <= {one["path"] for one in entry["changes"]}
    assert first["id"] == (await registry.get("/resolve", ref="digits/1"))["id"]
    assert (await registry.get("/scrub"))["damaged_files"] == 0


async def test_a_person_puts_the_very_file_back(registry: Registry, replica: Callable[..., Scrubbing]) -> None:
    first = await registry.commit(files={"m.bin": GOOD})
    at = place(first["files"][0])
    file: dict[str, Any] = {"ref": "digits/1", "path": "m.bin"}
    await registry.refused("POST", "/models/digits/repairs", "file_not_damaged", as_="pam", json=file)
    await lose(registry, at)
    await scrub(registry, replica())
    await registry.refused("POST", "/models/digits/repairs", "role_missing", as_="ada", json=file)
    slot = await registry.call("POST", "/models/digits/repairs", as_="pam", json=file)
    wrong = (await registry.blobs.send("PUT", slot["upload"]["url"], b"other")).headers["x-amz-version-id"]
    right = (await registry.blobs.send("PUT", slot["upload"]["url"], GOOD)).headers["x-amz-version-id"]
    complete = "/models/digits/repairs/complete"
    await registry.refused("POST", complete, "bytes_damaged", as_="pam", json={**file, "version_id": wrong})
    await registry.refused("POST", complete, "bytes_missing", as_="pam", json={**file, "version_id": "none"})
    for _ in range(2):  # the answer may be lost: again is the same
        done = await registry.call("POST", complete, as_="pam", json={**file, "version_id": right})
        assert done["location"] == {"bucket": BUCKET, "key": at.key, "version_id": right}
    [event] = await registry.sent(topics.INTEGRITY_RESTORED)
    assert (event["operator"], event["location"]["version_id"]) == ("muniment|pam", right)
    assert (await registry.get("/versions/digits%2F1/files"))["files"]


async def test_a_store_that_gets_its_bytes_back_is_believed(
    registry: Registry, replica: Callable[..., Scrubbing]
) -> None:
    first = await registry.commit()
    at = place(first["files"][0])
    one = replica()
    for _ in range(2):  # a bit that is flipped twice is right again
        registry.blobs.damage(at)
        run = await scrub(registry, one)
    assert run["damaged_objects"] == 0
    [event] = await registry.sent(topics.INTEGRITY_RESTORED)
    assert event["previous"] == event["location"]
