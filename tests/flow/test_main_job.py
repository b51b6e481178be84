"""A finished training run becomes a locked, audited, announced version, by each of the ways in."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from pathlib import Path

import pytest

from muniment.contracts import topics
from muniment.contracts.errors import Conflict, NotFound
from muniment.ports.blobs import Location, ObjectLocked

from .conftest import Outside, header, model_folder

FLOW = (topics.MODEL_TRAINED, topics.MODEL_VALIDATED, topics.VERSION_AVAILABLE)


async def test_published_over_http(registry: Outside, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "run")
    publication = await registry.client.publish(
        folder, model="http-way", params={"lr": 0.1}, metrics={"accuracy": 0.97}
    )
    version = publication.version
    assert version is not None
    assert (version.number, version.branch, version.stability) == (1, "main", "candidate")
    manifest = await registry.client.version("http-way@main")
    text = json.dumps(manifest.raw["manifest"], separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    assert version.id == "sha256:" + hashlib.sha256(text.encode()).hexdigest(), "the id is the manifest's digest"
    for topic in FLOW:
        record = (await registry.until(lambda topic=topic: registry.records(topic, publication.id)))[0]
        assert record.key == b"http-way"
        assert header(record, "ce_type") == topic.type
    for action, resource in (
        ("publication.accepted", f"publications/{publication.id}"),
        ("validation.passed", f"publications/{publication.id}"),
        ("version.committed", "models/http-way/versions/1"),
    ):
        entry = await registry.until_audited(resource, action)
        assert entry["operator"] == "muniment|admin"
        assert entry["authenticated_by"] == "token"


async def test_the_same_again_is_the_same_version(registry: Outside, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "run")
    first = (await registry.client.publish(folder, model="again")).version
    second = (await registry.client.publish(folder, model="again")).version
    other = (await registry.client.publish(folder, model="again", run_id="another")).version
    assert first is not None
    assert second is not None
    assert other is not None
    assert first.id == second.id
    assert (second.number, other.number) == (1, 2)
    assert other.id != first.id
    assert len(registry.records(topics.VERSION_AVAILABLE)) >= 2


async def test_published_by_an_event_with_files_in_a_landing_bucket(registry: Outside) -> None:
    file = await registry.land("model.bin", b"landed weights")
    record, flow = registry.event("kafka-way", [file], run_id="run-1", metrics={"f1": 0.5})
    await registry.send(record)
    available = await registry.until_seen(topics.VERSION_AVAILABLE, flow)
    assert (available["model"], available["number"]) == ("kafka-way", 1)
    place = available["files"][0]["location"]
    assert place["bucket"] == registry.settings.s3.bucket, "the bytes were copied out of the landing bucket"
    assert (await registry.client.publication(flow, wait=20)).stage == "committed"
    again, _ = registry.event("kafka-way", [file], run_id="run-1", metrics={"f1": 0.5})
    await registry.send(again)
    last, flow_last = registry.event("kafka-way", [file], run_id="run-2")
    await registry.send(last)
    assert (await registry.until_seen(topics.VERSION_AVAILABLE, flow_last))["number"] == 2
    assert len(registry.records(topics.VERSION_AVAILABLE, flow)) == 1


async def test_the_committed_bytes_cannot_be_deleted_or_replaced(registry: Outside, tmp_path: Path) -> None:
    await registry.client.publish(model_folder(tmp_path / "run", "precious"), model="locked")
    version = await registry.client.version("locked/1")
    for place in [version.raw["manifest_location"], *(file["location"] for file in version.raw["files"])]:
        location = Location(place["bucket"], place["key"], place["version_id"])
        with pytest.raises(ObjectLocked):
            await registry.store.delete_version(location)
        await registry.store.put(place["bucket"], place["key"], b"other bytes")
    target = tmp_path / "downloaded"
    await registry.client.download("locked/1", target)
    assert (target / "weights.bin").read_bytes() == b"precious"
    assert (await registry.client.verify("locked/1", target)).ok


async def test_equal_files_are_stored_once(registry: Outside, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "run", "shared by two models")
    await registry.client.publish(folder, model="first-owner")
    await registry.client.publish(folder, model="second-owner")
    one = (await registry.client.version("first-owner/1")).raw["files"]
    two = (await registry.client.version("second-owner/1")).raw["files"]
    assert [file["location"] for file in one] == [file["location"] for file in two]


async def test_a_wrong_digest_is_rejected_with_both_values(registry: Outside) -> None:
    file = await registry.land("model.bin", b"what is there")
    claimed = hashlib.sha256(b"what was claimed").hexdigest()
    record, flow = registry.event("wrong-digest", [{**file, "sha256": claimed}])
    await registry.send(record)
    rejected = await registry.until_seen(topics.MODEL_REJECTED, flow)
    assert rejected["code"] == "digest_mismatch"
    assert rejected["expected"] == f"sha256:{claimed}"
    assert rejected["actual"] == f"sha256:{file['sha256']}"
    publication = await registry.client.publication(flow, wait=10)
    assert publication.stage == "rejected"
    entry = await registry.until_audited(f"publications/{flow}", "validation.rejected")
    assert entry["outcome"] == "refused"


async def test_a_candidate_waits_for_a_person(registry: Outside, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "run")
    publication = await registry.client.publish(folder, model="waiting", commit="manual", run_id="r1")
    assert publication.stage == "candidate"
    candidates = [c async for c in registry.client.candidates(model="waiting")]
    assert [c.raw["publication"] for c in candidates] == [publication.id]
    version = await registry.client.commit(
        publication.id, tags={"who": "me"}, description="the best of ten", experiment_id="exp-7", branch="exp/ten"
    )
    assert (version.number, version.branch, version.description) == (1, "exp/ten", "the best of ten")
    shown = await registry.client.version("waiting@exp/ten")
    assert shown.raw["manifest"]["experiment_id"] == "exp-7"
    assert shown.raw["tags"] == {"who": "me"}
    again = await registry.client.commit(publication.id)
    assert again.id == version.id
    assert (await registry.client.publication(publication.id, wait=10)).stage == "committed"
    assert [c async for c in registry.client.candidates(model="waiting")] == []
    entry = await registry.until_audited(f"publications/{publication.id}", "candidate.committed")
    assert (entry["operator"], entry["model"]) == ("muniment|admin", "waiting")


async def test_a_refused_candidate_never_becomes_a_version(registry: Outside, tmp_path: Path) -> None:
    publication = await registry.client.publish(model_folder(tmp_path / "run"), model="refused", commit="manual")
    await registry.client.refuse(publication.id, reason="worse than the last")
    with pytest.raises(Conflict) as caught:
        await registry.client.commit(publication.id)
    assert caught.value.code == "candidate_refused"
    await registry.until_audited(f"publications/{publication.id}", "candidate.refused")


async def test_fifty_publishers_at_once_get_fifty_numbers(registry: Outside) -> None:
    flows = []
    for number in range(50):
        file = await registry.land("model.bin", f"weights {number}".encode())
        record, flow = registry.event("crowd", [file], run_id=f"run-{number}", branch="main" if number % 2 else "exp/x")
        flows.append((record, flow))
    await asyncio.gather(*(registry.send(record) for record, _ in flows))
    events = [await registry.until_seen(topics.VERSION_AVAILABLE, flow) for _, flow in flows]
    assert sorted(event["number"] for event in events) == list(range(1, 51))
    for branch in ("main", "exp/x"):
        line = sorted((e for e in events if e["branch"] == branch), key=lambda e: e["number"])
        assert [e.get("previous") for e in line] == [None, *(e["id"] for e in line[:-1])], "each follows the one before"
    logged = [v async for v in registry.client.log("crowd@main")]
    assert len(logged) == 25


async def test_the_audit_log_is_contiguous_and_its_root_fits(registry: Outside, tmp_path: Path) -> None:
    await registry.client.publish(model_folder(tmp_path / "run"), model="audited")
    await registry.until_audited("models/audited/versions/1", "version.committed")
    records = [json.loads(record.value) for record in registry.records(topics.AUDIT_LOG)]
    assert [record["index"] for record in records] == list(range(len(records)))
    leaves = [
        hashlib.sha256(
            b"\0" + json.dumps(r["entry"], separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
        ).digest()
        for r in records
    ]
    assert [leaf.hex() for leaf in leaves] == [record["leaf_hash"] for record in records]
    assert root(leaves).hex() == records[-1]["root_hash"]


async def test_the_audit_log_is_published_in_its_bucket(registry: Outside, tmp_path: Path) -> None:
    await registry.client.publish(model_folder(tmp_path / "run"), model="proven")
    await registry.until_audited("models/proven/versions/1", "version.committed")
    index = json.loads(registry.records(topics.AUDIT_LOG)[-1].value)["index"]
    receipt = await until_published(registry, index)
    origin, size, encoded = receipt.split("\n\n")[1].split("\n")
    assert int(size) > index
    assert origin == (await registry.client.audit_keys())["origin"]
    assert base64.b64decode(encoded).hex() == (await registry.client.audit_consistency(0, int(size)))["to_root"]
    bucket = registry.settings.audit.bucket
    shown = await registry.store.read_whole(await registry.store.stat(bucket, "checkpoint"))
    assert shown is not None
    assert shown.decode().startswith(f"{origin}\n")
    bundle = index // 256
    width = f".p/{int(size) % 256}" if int(size) < (bundle + 1) * 256 else ""
    stored = await registry.store.read_whole(await registry.store.stat(bucket, f"tile/entries/{bundle:03}{width}"))
    entry = base64.b64decode(receipt.split("\n")[1].removeprefix("extra "))
    assert stored is not None
    assert entry in stored


async def until_published(registry: Outside, index: int) -> str:
    """The receipt of an entry, as soon as a checkpoint covers it."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await registry.client.audit_receipt(index)
            except (Conflict, NotFound) as error:
                if error.code not in {"audit_not_yet_published", "audit_not_published"}:
                    raise
            await asyncio.sleep(0.1)


def root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, as it is written there."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\1" + root(leaves[:split]) + root(leaves[split:])).digest()
