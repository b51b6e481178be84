"""The rebuild follows repairs: files lie where the log says that good bytes were put, whatever else the store holds."""

from __future__ import annotations

import pytest

from muniment.registry.bytes_check import CommittedBytes
from muniment.registry.rebuilding.comparing import TABLES
from muniment.registry.rebuilding.manifests import Manifests
from muniment.registry.rebuilding.work import Rebuild, rows_of
from muniment.registry.scrubbing.damages import Damages
from muniment.registry.scrubbing.repairs import Repairs

from .conftest import BUCKET, Registry
from .rebuilding_bench import TRACKS, databases, log_of

BYTES = b"weights"
OWN = "edge-models"


async def damaged(registry: Registry, location: dict[str, str]) -> None:
    """As the scrubber leaves an object that it has found changed."""
    await registry.pool.execute(
        "UPDATE stored_object SET damaged_at = now(), damage_code = 'bytes_damaged', damage_actual = 'x' "
        "WHERE version_id = $1",
        location["version_id"],
    )


async def files_of(registry: Registry, ref: str) -> dict[str, dict[str, str]]:
    """Where the live registry has each file of a version or release."""
    found = await registry.get("/resolve", ref=ref)
    return {file["path"]: file["location"] for file in found["files"]}


async def put_back(registry: Registry, ref: str) -> None:
    """A person repairs `m.bin`."""
    file = {"ref": ref, "path": "m.bin"}
    slot = await registry.call("POST", "/models/digits/repairs", as_="pam", json=file)
    put = await registry.blobs.send("PUT", slot["upload"]["url"], BYTES)
    told = {**file, "version_id": put.headers["x-amz-version-id"]}
    await registry.call("POST", "/models/digits/repairs/complete", as_="pam", json=told)


@pytest.mark.parametrize("again", [False, True])
async def test_repaired_files_are_where_the_repair_has_put_them(registry: Registry, fresh: str, again: bool) -> None:
    await registry.call("PUT", "/tracks/edge", json={"retention_s": 3600, "bucket": OWN})
    await registry.commit(files={"m.bin": BYTES, "other.bin": b"other"})
    body = {"version": "1.0.0", "ref": "digits/1", "track": "edge", "copy": "physical"}
    await registry.post("/models/digits/releases", as_="pam", **body)
    first = await files_of(registry, "digits/1")
    await damaged(registry, first["m.bin"])
    # The version's bytes are mended by the copy that the release has in its own bucket.
    repairs = Repairs(registry.transactions, CommittedBytes(registry.blobs), Damages(registry.transactions), 60)
    assert await repairs.mend() == 1
    if again:  # and then that copy is damaged, too
        await damaged(registry, (await files_of(registry, "digits/1"))["m.bin"])
        await put_back(registry, "digits@1.0.0")
    now = await files_of(registry, "digits/1")
    assert (now["m.bin"]["bucket"], now["m.bin"] == first["m.bin"]) == (BUCKET if again else OWN, False)
    async with databases(registry, fresh) as (live, target):
        work = Rebuild(await log_of(registry), Manifests(registry.blobs, BUCKET))
        await work.write(target, [*TRACKS, ("edge", "COMPLIANCE", 3600)])
        await work.compare(live, target)
        report = work.report.as_json()
        assert (report["problems"], report["differences"], report["unknown_actions"]) == ([], [], {})
        async with target.transaction():
            [table] = [one for one in TABLES if one.name == "version_file"]
            rows = [row async for row in rows_of(target, table)]
    assert {row["path"]: row["version_id"] for row in rows} == {
        path: location["version_id"] for path, location in now.items()
    }
    assert now["other.bin"] == first["other.bin"]
