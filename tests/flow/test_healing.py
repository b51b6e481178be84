"""Bytes that the store has lost: found by the scrubber, and healed by whoever publishes the same files again.

The loss is real: the track's locks are such that the store's owner may delete a version-id, and does.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from minio import Minio
from minio.deleteobjects import DeleteObject

from muniment.contracts import topics
from muniment.contracts.errors import Conflict, NotFound

from .conftest import Outside, model_folder

MODEL = "healing"
PATH = "weights.bin"


async def place_of(registry: Outside) -> dict[str, Any]:
    version = await registry.client.version(f"{MODEL}/1")
    return next(dict(file["location"]) for file in version.raw["files"] if file["path"] == PATH)


def lose(registry: Outside, place: dict[str, Any]) -> None:
    """As the store's owner, who may pass by a lock in GOVERNANCE mode."""
    address = urlsplit(registry.endpoints.s3_endpoint)
    owner = Minio(
        address.netloc,
        registry.endpoints.s3_access_key,
        registry.endpoints.s3_secret_key,
        secure=address.scheme == "https",
    )
    wanted = [DeleteObject(place["key"], place["version_id"])]
    assert list(owner.remove_objects(place["bucket"], wanted, bypass_governance_mode=True)) == []


async def until_forgotten(registry: Outside, place: dict[str, Any]) -> None:
    """Until ingest has heard of the damage, and relies on these bytes no more."""
    connection = await asyncpg.connect(registry.endpoints.postgres_dsn)
    try:
        async with asyncio.timeout(30):
            while await connection.fetchval(
                "SELECT count(*) FROM ingest.held_blob WHERE version_id = $1", place["version_id"]
            ):
                await asyncio.sleep(0.05)
    finally:
        await connection.close()


def told(registry: Outside, topic: topics.Topic) -> list[dict[str, Any]]:
    events = [json.loads(record.value or b"") for record in registry.records(topic)]
    return [event for event in events if event["model"] == MODEL]


async def test_publishing_the_same_files_again_heals_a_damaged_version(registry: Outside, tmp_path: Path) -> None:
    client, folder = registry.client, model_folder(tmp_path / "run", "weights that are lost")
    await client.change_track("lent", {"lock_mode": "GOVERNANCE", "retention_s": 60})
    first = await client.publish(folder, model=MODEL, track="lent")
    assert first.version is not None
    await registry.until_audited(f"models/{MODEL}/versions/1", "version.committed")
    before = await place_of(registry)

    lose(registry, before)
    run = await client.scrub(model=MODEL)
    assert run["damaged_objects"] == 1
    [violated] = await registry.until(lambda: told(registry, topics.INTEGRITY_VIOLATED))
    assert (violated["code"], violated["files"][0]["path"]) == ("bytes_missing", PATH)
    with pytest.raises(Conflict) as refused:
        await client.download(f"{MODEL}/1", tmp_path / "damaged")
    assert refused.value.code == "version_damaged"

    await until_forgotten(registry, before)
    again = await client.publish(folder, model=MODEL, track="lent")
    assert again.version is not None
    assert again.version.id == first.version.id
    [restored] = await registry.until(lambda: told(registry, topics.INTEGRITY_RESTORED))
    assert restored["previous"]["version_id"] == before["version_id"]

    after = await place_of(registry)
    assert after == {name: restored["location"][name] for name in after}
    assert after["version_id"] != before["version_id"]
    await client.download(f"{MODEL}/1", tmp_path / "healed")
    assert (tmp_path / "healed" / PATH).read_bytes() == (folder / PATH).read_bytes()
    with pytest.raises(NotFound):
        await client.version(f"{MODEL}/2")
    entry = await registry.until_audited(f"models/{MODEL}/objects/{restored['sha256']}", "integrity.restored")
    [moved] = [change for change in entry["changes"] if change["path"] == "location"]
    assert (moved["before"]["version_id"], moved["after"]["version_id"]) == (before["version_id"], after["version_id"])
    assert f"versions/1/files/{PATH}" in {change["path"] for change in entry["changes"]}
    assert (await client.scrub(model=MODEL))["damaged_objects"] == 0
