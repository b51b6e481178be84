"""The later topics, in any order, keep each publication's stage."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from muniment.contracts.events import (
    Change,
    ModelRejected,
    ModelValidated,
    RegistryChanged,
    ValidationProgressed,
    VersionAvailable,
)
from muniment.contracts.integrity import IntegrityRestored, IntegrityViolated
from muniment.contracts.model import Payload
from muniment.ingest import waiting as waiting_module
from muniment.ingest.waiting import settled

from .conftest import Ingest, declared, internal, training

DATA = b"weights of a model"
VERSION = "sha256:" + "cd" * 32
WHERE = {"bucket": "muniment-models", "key": "k", "version_id": "v1"}


@pytest.fixture
async def trained(ingest: Ingest) -> str:
    """A publication that was just accepted."""
    return await ingest.publish(await ingest.land(DATA))


def progressed(publication_id: str, done: int) -> ValidationProgressed:
    return ValidationProgressed.model_validate(
        {"publication_id": publication_id, "model": "digits", "bytes_done": done, "bytes_total": len(DATA)}
    )


def validated(publication_id: str) -> ModelValidated:
    return ModelValidated.model_validate(
        {
            "publication_id": publication_id,
            "model": "digits",
            "operator": "muniment|trainer",
            "authenticated_by": "signature",
            "facts": {},
            "files": [{**declared(DATA), "format": "raw", "location": WHERE}],
        }
    )


def available(publication_id: str) -> VersionAvailable:
    return VersionAvailable.model_validate(
        {
            "publication_id": publication_id,
            "model": "digits",
            "number": 4,
            "id": VERSION,
            "branch": "main",
            "stability": "stable",
            "track": "production",
            "operator": "muniment|trainer",
            "committed_at": "2026-01-02T03:04:05Z",
            "manifest": WHERE,
            "files": [{**declared(DATA), "format": "raw", "location": WHERE}],
        }
    )


def rejected(publication_id: str) -> ModelRejected:
    return ModelRejected.model_validate(
        {
            "publication_id": publication_id,
            "model": "digits",
            "operator": "muniment|trainer",
            "stage": "validation",
            "code": "digest_mismatch",
            "message": "the bytes have another digest",
            "expected": "aa",
            "actual": "bb",
            "file": "model.bin",
        }
    )


def registry(publication_id: str, kind: str, **fields: Any) -> RegistryChanged:
    return RegistryChanged.model_validate(
        {"kind": kind, "model": "digits", "operator": "muniment|ada", "publication_id": publication_id, **fields}
    )


async def shown(ingest: Ingest, publication_id: str) -> dict[str, Any]:
    row = await ingest.publication(publication_id)
    assert row is not None
    return {
        "stage": row["stage"],
        "version": json.loads(row["version"] or "null"),
        "rejection": json.loads(row["rejection"] or "null"),
        "progress": (row["bytes_done"], row["bytes_total"]),
        "stages": [one["stage"] for one in json.loads(row["history"])],
    }


async def test_a_life_from_trained_to_committed(ingest: Ingest, trained: str) -> None:
    await ingest.tell(progressed(trained, 5))
    assert (await shown(ingest, trained))["progress"] == (5, len(DATA))
    await ingest.tell(validated(trained))
    await ingest.tell(registry(trained, "candidate-added"))
    assert (await shown(ingest, trained))["stage"] == "candidate"
    await ingest.tell(available(trained))
    now = await shown(ingest, trained)
    assert now["stages"] == ["trained", "validating", "candidate", "committed"]
    assert now["progress"] == (len(DATA), len(DATA))
    assert (now["version"]["id"], now["version"]["number"], now["version"]["branch"]) == (VERSION, 4, "main")


async def test_every_order_of_a_life_ends_the_same(ingest: Ingest) -> None:
    def life(publication_id: str) -> Sequence[Payload]:
        return (
            progressed(publication_id, 5),
            validated(publication_id),
            registry(publication_id, "candidate-added"),
            available(publication_id),
        )

    orders = list(itertools.permutations(range(4)))
    ends = []
    for number, order in enumerate(orders):
        publication_id = await ingest.publish(await ingest.land(DATA), event_id=f"run-{number}")
        events = life(publication_id)
        for index in order:
            await ingest.tell(events[index])
        now = await shown(ingest, publication_id)
        ends.append((now["stage"], now["version"], now["progress"]))
        assert now["stages"][0] == "trained"
        assert now["stages"][-1] == "committed"
    assert len(ends) == 24
    assert all(end == ends[0] for end in ends)


async def test_a_batch_may_hold_a_whole_life(ingest: Ingest) -> None:
    event = training(await ingest.land(DATA))
    publication_id = await ingest.publish(await ingest.land(DATA), event_id="other")
    records = [
        ingest.record(internal(payload))
        for payload in (available(publication_id), progressed(publication_id, 5), validated(publication_id))
    ]
    await ingest.take(ingest.record(event), *records)
    now = await shown(ingest, publication_id)
    assert now["stage"] == "committed"
    assert now["progress"] == (len(DATA), len(DATA))


async def test_a_rejection_shows_what_was_compared_and_nothing_changes_it(ingest: Ingest, trained: str) -> None:
    await ingest.tell(rejected(trained))
    before = await shown(ingest, trained)
    assert before["stage"] == "rejected"
    assert (before["rejection"]["code"], before["rejection"]["stage"]) == ("digest_mismatch", "validation")
    assert (before["rejection"]["expected"], before["rejection"]["actual"]) == ("aa", "bb")
    for late in (registry(trained, "candidate-added"), available(trained)):
        await ingest.tell(late)
    assert await shown(ingest, trained) == before


async def test_a_match_is_committed_with_the_version_that_was_there(ingest: Ingest, trained: str) -> None:
    await ingest.tell(registry(trained, "publication-matched", version=VERSION, number=2, branch="main"))
    now = await shown(ingest, trained)
    assert (now["stage"], now["version"]) == ("committed", {"id": VERSION, "number": 2, "branch": "main"})


async def test_a_refused_candidate_is_rejected_with_its_reason(ingest: Ingest, trained: str) -> None:
    await ingest.tell(registry(trained, "candidate-added"))
    reason = Change(path="reason", after="too slow").model_dump()
    await ingest.tell(registry(trained, "candidate-refused", changes=[reason]))
    now = await shown(ingest, trained)
    assert (now["stage"], now["rejection"]["code"]) == ("rejected", "candidate_refused")
    assert "too slow" in now["rejection"]["message"]


async def test_publications_of_another_region_are_left_alone(ingest: Ingest, trained: str) -> None:
    stranger = "00000000-0000-5000-8000-00000000000f"
    for event in (progressed(stranger, 1), validated(stranger), rejected(stranger), available(stranger)):
        await ingest.tell(event)
    assert await ingest.count("publication") == 1
    assert (await shown(ingest, trained))["stage"] == "trained"
    assert await ingest.dead_letters() == []


async def test_own_rejections_come_back_and_change_nothing(ingest: Ingest) -> None:
    publication_id = await ingest.publish(declared(DATA))
    before = await shown(ingest, publication_id)
    again = {**rejected(publication_id).model_dump(), "stage": "ingest", "code": "bytes_missing"}
    await ingest.tell(ModelRejected.model_validate(again))
    assert await shown(ingest, publication_id) == before


async def test_six_followers_of_the_same_publications_agree(ingest: Ingest) -> None:
    file = await ingest.land(DATA)
    publications = [await ingest.publish(file, event_id=f"run-{number}") for number in range(12)]

    async def follow(seed: int) -> None:
        order = random.Random(seed).sample(publications, len(publications))
        for make in (validated, available):
            await ingest.take(*(ingest.record(internal(make(one), f"{make.__name__}-{seed}-{one}")) for one in order))

    async with asyncio.timeout(60):
        await asyncio.gather(*(follow(seed) for seed in range(6)))
    for publication_id in publications:
        now = await shown(ingest, publication_id)
        assert now["stage"] == "committed"
        assert now["stages"].count("committed") == 1
    assert await ingest.dead_letters() == []


# -- held bytes


async def test_held_bytes_of_a_rejected_publication_are_not_relied_on_again(ingest: Ingest, trained: str) -> None:
    location = await ingest.blobs.put("muniment-models", "kept", DATA)
    event = available(trained).model_dump(mode="json")
    event["files"][0]["location"] = {"bucket": location.bucket, "key": location.key, "version_id": location.version_id}
    await ingest.tell(VersionAvailable.model_validate(event))
    assert await ingest.count("held_blob") == 1
    publication_id = await ingest.publish(declared(DATA), event_id="run-2")
    assert (await shown(ingest, publication_id))["stage"] == "trained"
    await ingest.tell(rejected(publication_id))
    assert await ingest.count("held_blob") == 0


# -- waiting


async def test_waiting_ends_with_the_commit_that_settles(
    ingest: Ingest, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_module, "_POLL_S", 60.0)
    waiting = asyncio.create_task(settled(ingest.store, ingest.waiters, trained, wait_s=50))
    async with asyncio.timeout(20):
        while not ingest.waiters.watched(trained):
            await asyncio.sleep(0.001)
        await ingest.tell(available(trained))
        publication = await waiting
    assert publication is not None
    assert publication.stage == "committed"
    assert not ingest.waiters.watched(trained)


async def test_waiting_sees_what_another_process_changed(ingest: Ingest, trained: str) -> None:
    waiting = asyncio.create_task(settled(ingest.store, ingest.waiters, trained, wait_s=50))
    async with asyncio.timeout(20):
        while not ingest.waiters.watched(trained):
            await asyncio.sleep(0.001)
        await ingest.pool.execute("UPDATE publication SET stage = 'candidate', rank = 3 WHERE id = $1", trained)
        publication = await waiting
    assert publication is not None
    assert publication.stage == "candidate"


async def test_waiting_ends_when_time_is_up(ingest: Ingest, trained: str) -> None:
    publication = await settled(ingest.store, ingest.waiters, trained, wait_s=0.05)
    assert publication is not None
    assert publication.stage == "trained"
    assert await settled(ingest.store, ingest.waiters, "00000000-0000-5000-8000-00000000000f", wait_s=5) is None


def integrity(kind: type[IntegrityViolated] | type[IntegrityRestored], **more: Any) -> Payload:
    held = {"path": "model.bin", "version": {"number": 4, "id": VERSION}}
    said = declared(DATA)
    return kind.model_validate(
        {
            "model": "digits",
            "operator": "muniment|registry",
            "sha256": said["sha256"],
            "size": said["size"],
            "files": [held],
            **more,
        }
    )


async def test_damaged_bytes_are_not_relied_on_and_restored_ones_are(ingest: Ingest, trained: str) -> None:
    """Otherwise the first publication that would bring good bytes is told that they are held, and is rejected."""
    await ingest.tell(available(trained))
    assert await ingest.count("held_blob") == 1
    wrong = {"code": "bytes_damaged", "expected": "x", "actual": "y", "hint": "z", "found_at": "2026-01-02T03:04:05Z"}
    elsewhere = {**WHERE, "version_id": "v0"}
    await ingest.tell(integrity(IntegrityViolated, location=elsewhere, **wrong), "i-0")
    assert await ingest.count("held_blob") == 1, "another object with the digest"
    await ingest.tell(integrity(IntegrityViolated, location=WHERE, **wrong), "i-1")
    assert await ingest.count("held_blob") == 0
    moved = {"location": {**WHERE, "version_id": "v2"}, "previous": WHERE, "restored_at": "2026-01-03T03:04:05Z"}
    await ingest.tell(integrity(IntegrityRestored, **moved), "i-2")
    assert await ingest.pool.fetchval("SELECT version_id FROM held_blob") == "v2"
