"""Publications from Kafka: what is accepted, what is refused and how, and that nothing is taken twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from muniment.contracts import topics
from muniment.contracts.events import VersionAvailable
from muniment.contracts.ids import publication_id_of

from .conftest import LANDING, OWN_TOPIC, PREFIX, SOURCE, Ingest, Signer, declared, training

DATA = b"weights of a model"


# -- accepted


async def test_an_accepted_event_is_pinned_recorded_sent_on_and_audited(ingest: Ingest) -> None:
    file = await ingest.land(DATA)
    version = await ingest.blobs.stat(LANDING, "run-1/model.bin")
    publication_id = await ingest.publish(file, facts={"params": {"lr": 0.1}}, commit="manual", tags={"lab": "a"})

    row = await ingest.publication(publication_id)
    assert row is not None
    assert (row["stage"], row["operator"], row["authenticated_by"]) == ("trained", "muniment|trainer", "signature")
    (event,) = await ingest.sent(topics.MODEL_TRAINED)
    assert event["publication_id"] == publication_id
    assert event["facts"]["params"] == {"lr": 0.1}
    assert (event["commit"], event["tags"], event["operator"]) == ("manual", {"lab": "a"}, "muniment|trainer")
    assert event["files"] == [
        {
            "path": "model.bin",
            "sha256": file["sha256"],
            "size": len(DATA),
            "origin": "landing",
            "role": "file",
            "location": {"bucket": LANDING, "key": "run-1/model.bin", "version_id": version.version_id},
        }
    ]
    (entry,) = await ingest.audits()
    assert (entry["action"], entry["outcome"], entry["resource"]) == (
        "publication.accepted",
        "done",
        f"publications/{publication_id}",
    )
    assert (entry["operator"], entry["authenticated_by"]) == ("muniment|trainer", "signature")
    assert (entry["cause"]["id"], entry["cause"]["kind"]) == ("run-1", "event")
    assert {"path": "stage", "after": "trained"} in entry["changes"]


async def test_the_version_that_was_there_is_pinned_whatever_is_written_later(ingest: Ingest) -> None:
    file = await ingest.land(DATA)
    first = await ingest.blobs.stat(LANDING, "run-1/model.bin")
    await ingest.blobs.put(LANDING, "run-1/model.bin", b"other bytes, same length"[: len(DATA)])
    await ingest.publish({**file, "version_id": first.version_id})
    (event,) = await ingest.sent(topics.MODEL_TRAINED)
    assert event["files"][0]["location"]["version_id"] == first.version_id


async def test_a_topic_of_one_account_speaks_for_its_account(ingest: Ingest) -> None:
    file = await ingest.land(DATA)
    await ingest.take(ingest.record(training(file), sign=False, topic=OWN_TOPIC))
    (event,) = await ingest.sent(topics.MODEL_TRAINED)
    assert (event["operator"], event["authenticated_by"]) == ("muniment|lab-a", "topic")


async def test_a_signature_says_more_than_a_topic(ingest: Ingest) -> None:
    await ingest.take(ingest.record(training(await ingest.land(DATA)), topic=OWN_TOPIC))
    (event,) = await ingest.sent(topics.MODEL_TRAINED)
    assert (event["operator"], event["authenticated_by"]) == ("muniment|trainer", "signature")


async def test_unsigned_events_are_nobodys_where_they_are_allowed(ingest: Ingest) -> None:
    object.__setattr__(ingest.producers, "allow_unsigned", True)
    await ingest.take(ingest.record(training(await ingest.land(DATA)), sign=False))
    (entry,) = await ingest.audits()
    assert (entry["operator"], entry["authenticated_by"]) == ("muniment|unsigned", "unsigned")


async def test_bytes_of_a_committed_version_need_no_location(ingest: Ingest) -> None:
    await hold(ingest, DATA)
    publication_id = await ingest.publish(declared(DATA), event_id="run-2")
    row = await ingest.publication(publication_id)
    assert row is not None
    assert row["stage"] == "trained"
    (event,) = await ingest.sent(topics.MODEL_TRAINED)
    assert event["files"][0]["origin"] == "held"
    assert event["files"][0]["location"]["key"] == "kept/model.bin"


# -- refused, and attributed: a rejected publication


async def refused(ingest: Ingest, file: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Publish, check that it was refused in every place, and return the rejection."""
    publication_id = await ingest.publish(file, **fields)
    row = await ingest.publication(publication_id)
    assert row is not None
    assert row["stage"] == "rejected"
    assert await ingest.sent(topics.MODEL_TRAINED) == []
    (event,) = await ingest.sent(topics.MODEL_REJECTED)
    assert (event["publication_id"], event["stage"], event["operator"]) == (
        publication_id,
        "ingest",
        "muniment|trainer",
    )
    (entry,) = await ingest.audits()
    assert (entry["action"], entry["outcome"]) == ("publication.refused", "refused")
    assert (entry["operator"], entry["resource"]) == ("muniment|trainer", f"publications/{publication_id}")
    assert entry["reason"].startswith(event["code"] + ": ")
    assert await ingest.dead_letters() == []
    return event


async def test_another_size_is_refused_with_both_sizes(ingest: Ingest) -> None:
    file = await ingest.land(DATA)
    event = await refused(ingest, {**file, "size": len(DATA) + 1})
    assert (event["code"], event["file"]) == ("size_mismatch", "model.bin")
    assert (event["expected"], event["actual"]) == (f"{len(DATA) + 1} B", f"{len(DATA)} B")
    (entry,) = await ingest.audits()
    assert {"path": "expected", "after": f"{len(DATA) + 1} B"} in entry["changes"]
    assert {"path": "actual", "after": f"{len(DATA)} B"} in entry["changes"]


async def test_an_object_that_is_not_there_is_refused(ingest: Ingest) -> None:
    event = await refused(ingest, declared(DATA, location=f"s3://{LANDING}/nowhere"))
    assert event["code"] == "file_missing"


async def test_a_deleted_object_is_refused(ingest: Ingest) -> None:
    file = await ingest.land(DATA)
    await ingest.blobs.hide(LANDING, "run-1/model.bin")
    assert (await refused(ingest, file))["code"] == "file_missing"


async def test_a_version_id_that_is_not_there_is_refused(ingest: Ingest) -> None:
    file = await ingest.land(DATA)
    event = await refused(ingest, {**file, "version_id": "no-such-version"})
    assert event["code"] == "file_missing"
    assert "no-such-version" in event["message"]


async def test_bytes_that_are_nowhere_are_refused(ingest: Ingest) -> None:
    event = await refused(ingest, declared(DATA))
    assert (event["code"], event["file"]) == ("bytes_missing", "model.bin")


async def test_held_bytes_of_another_size_are_refused(ingest: Ingest) -> None:
    await hold(ingest, DATA)
    publication_id = await ingest.publish({**declared(DATA), "size": 7}, event_id="run-2")
    row = await ingest.publication(publication_id)
    assert row is not None
    assert '"code": "size_mismatch"' in row["rejection"]


async def test_an_empty_file_is_refused(ingest: Ingest) -> None:
    assert (await refused(ingest, await ingest.land(b"")))["code"] == "file_empty"


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("s3://muniment-models/blobs/sha256/aa/aa", "location_not_allowed"),
        ("s3://other-bucket/model.bin", "location_not_allowed"),
        ("file:///etc/passwd", "location_invalid"),
        ("//muniment-landing/model.bin", "location_invalid"),
        ("S3://muniment-landing/model.bin", "location_invalid"),
        ("s3://muniment-landing/a/../model.bin", "location_invalid"),
        ("s3://muniment-landing/%2e%2e/model.bin", "location_invalid"),
        ("s3://muniment-landing/%252e%252e/model.bin", "location_invalid"),
        ("s3://muniment-landing/a\\model.bin", "location_invalid"),
        ("s3://muniment-landing/a;/../model.bin", "location_invalid"),
        ("s3://muniment-landing/model.bin?versionId=1", "location_invalid"),
        ("s3://muniment-landing/model.bin#x", "location_invalid"),
        ("s3://user@muniment-landing/model.bin", "location_invalid"),
        ("s3://muniment-landing:80/model.bin", "location_invalid"),
        ("s3://MUNIMENT-landing/model.bin", "location_invalid"),
        ("s3://münchen/model.bin", "location_invalid"),
        ("s3:///model.bin", "location_invalid"),
        ("model.bin", "location_invalid"),
        ("s3://muniment-landing/" + "k" * 1900, "location_invalid"),
    ],
)
async def test_locations_that_could_mean_another_place_are_refused(ingest: Ingest, location: str, code: str) -> None:
    await ingest.land(DATA, "model.bin")
    assert (await refused(ingest, declared(DATA, location=location)))["code"] == code
    assert ingest.blobs.stats == 0


async def test_the_first_file_at_fault_is_named(ingest: Ingest) -> None:
    good = await ingest.land(DATA, "run-1/good.bin")
    publication_id = await ingest.publish(
        good,
        declared(DATA, "one.bin", location=f"s3://{LANDING}/one"),
        declared(DATA, "two.bin", location=f"s3://{LANDING}/two"),
    )
    (event,) = await ingest.sent(topics.MODEL_REJECTED)
    assert (event["publication_id"], event["file"]) == (publication_id, "one.bin")


# -- refused, and nobody's: dead letters


async def test_what_cannot_be_attributed_is_a_dead_letter_and_takes_no_id(ingest: Ingest) -> None:
    event = training(await ingest.land(DATA))
    stranger = Signer("stranger")
    other = training(await ingest.land(DATA), event_id="other")
    kept = ingest.record(event)
    signed = dict(kept.headers)["muniment-signature"]
    await ingest.take(ingest.record(event, sign=False))
    await ingest.take(ingest.record(event, sign=False, muniment_signature=stranger.sign(event)[1]))
    await ingest.take(ingest.record(event, sign=False, muniment_signature=ingest.signer.sign(other)[1]))
    await ingest.take(ingest.record(event, sign=False, muniment_signature=b"v1;nonsense"))
    await ingest.take(ingest.record(event, sign=True, Muniment_Signature=b"v1;two"))
    assert signed is not None
    assert await ingest.dead_letters() == [
        "signature_missing",
        "signature_unknown_key",
        "signature_invalid",
        "signature_malformed",
        "signature_malformed",
    ]
    entries = await ingest.audits()
    assert [(one["action"], one["outcome"]) for one in entries] == [("publication.refused", "refused")] * 5
    assert await ingest.count("publication") == 0

    await ingest.take(kept)
    row = await ingest.publication(publication_id_of(SOURCE, "run-1"))
    assert row is not None
    assert row["stage"] == "trained"


async def test_somebody_elses_name_in_the_payload_is_refused(ingest: Ingest) -> None:
    file = await ingest.land(DATA)
    await ingest.take(ingest.record(training(file, operator="muniment|ada")))
    assert await ingest.dead_letters() == ["operator_mismatch"]
    assert await ingest.count("publication") == 0
    (entry,) = await ingest.audits()
    assert "muniment|trainer" in entry["reason"]
    assert "muniment|ada" in entry["reason"]


async def test_a_payload_that_names_its_own_operator_rightly_is_taken(ingest: Ingest) -> None:
    await ingest.publish(await ingest.land(DATA), operator="muniment|trainer")
    assert len(await ingest.sent(topics.MODEL_TRAINED)) == 1


async def test_a_name_that_is_no_model_is_a_dead_letter(ingest: Ingest) -> None:
    await ingest.publish(await ingest.land(DATA), model="digits\u202e")
    assert await ingest.dead_letters() == ["model_name_invalid"]


# -- never twice


async def test_a_thousand_copies_on_six_partitions_are_one_publication(ingest: Ingest) -> None:
    event = training(await ingest.land(DATA))
    records = [ingest.record(event, partition=number % 6) for number in range(1000)]
    batches = [[one for one in records if one.partition == partition] for partition in range(6)]
    await asyncio.gather(*(ingest.take(*batch[start : start + 50]) for batch in batches for start in range(0, 150, 50)))
    await asyncio.gather(*(ingest.take(*batch) for batch in batches))
    assert await ingest.count("publication") == 1
    assert len(await ingest.sent(topics.MODEL_TRAINED)) == 1
    assert len(await ingest.audits()) == 1
    assert await ingest.dead_letters() == []


async def test_the_same_event_after_the_inbox_forgot_it_changes_nothing(ingest: Ingest) -> None:
    file = await ingest.land(DATA)
    await ingest.publish(file)
    await ingest.pool.execute("DELETE FROM inbox")
    await ingest.publish(file)
    assert len(await ingest.sent(topics.MODEL_TRAINED)) == 1
    assert len(await ingest.audits()) == 1
    assert await ingest.dead_letters() == []


@pytest.mark.parametrize("inbox", ["remembers", "forgot"])
async def test_the_same_id_with_other_content_is_a_conflict_and_the_first_holds(ingest: Ingest, inbox: str) -> None:
    publication_id = await ingest.publish(await ingest.land(DATA))
    before = await ingest.publication(publication_id)
    if inbox == "forgot":
        await ingest.pool.execute("DELETE FROM inbox")
    await ingest.publish(await ingest.land(b"other weights", "run-2/model.bin"))
    assert await ingest.publication(publication_id) == before
    assert len(await ingest.sent(topics.MODEL_TRAINED)) == 1
    (code,) = await ingest.dead_letters()
    assert code == {"remembers": "event_id_conflict", "forgot": "publication_conflict"}[inbox]
    assert [one["outcome"] for one in await ingest.audits()] == ["done", "refused"]


async def test_another_account_cannot_publish_under_an_id_that_is_taken(ingest: Ingest) -> None:
    file = await ingest.land(DATA)
    await ingest.publish(file)
    await ingest.pool.execute("DELETE FROM inbox")
    await ingest.take(ingest.record(training(file), sign=False, topic=OWN_TOPIC))
    assert await ingest.dead_letters() == ["publication_conflict"]
    row = await ingest.publication(publication_id_of(SOURCE, "run-1"))
    assert row is not None
    assert row["operator"] == "muniment|trainer"


async def test_two_contents_with_one_id_in_one_batch_leave_the_first(ingest: Ingest) -> None:
    one, two = await ingest.land(DATA, "a.bin"), await ingest.land(b"other", "b.bin")
    await ingest.take(ingest.record(training(one)), ingest.record(training(two)))
    (event,) = await ingest.sent(topics.MODEL_TRAINED)
    assert event["files"][0]["path"] == "a.bin"
    assert await ingest.dead_letters() == ["event_id_conflict"]


async def test_a_mixed_batch_gives_each_event_its_own_end(ingest: Ingest) -> None:
    good, gone = await ingest.land(DATA, "good.bin"), declared(DATA, "gone.bin", location=f"s3://{LANDING}/gone.bin")
    await ingest.take(
        ingest.record(training(good, event_id="good-1")),
        ingest.record(training(gone, event_id="gone")),
        ingest.record(training(good, event_id="unsigned"), sign=False),
        ingest.record(training(good, event_id="good-2")),
    )
    assert {event["publication_id"] for event in await ingest.sent(topics.MODEL_TRAINED)} == {
        publication_id_of(SOURCE, "good-1"),
        publication_id_of(SOURCE, "good-2"),
    }
    assert [event["code"] for event in await ingest.sent(topics.MODEL_REJECTED)] == ["file_missing"]
    assert await ingest.dead_letters() == ["signature_missing"]
    assert len(await ingest.audits()) == 4


async def test_a_store_that_is_away_rejects_nothing(ingest: Ingest) -> None:
    file = await ingest.land(DATA)
    ingest.blobs.away = True
    await ingest.publish(file)
    assert await ingest.count("publication") == 0
    assert await ingest.dead_letters() == []
    waiting = await ingest.pool.fetchval(
        "SELECT count(*) FROM outbox WHERE aggregatetype = $1", f"{PREFIX}ingest.retry-5s.v1"
    )
    assert waiting == 1
    assert await ingest.audits() == []


# -- held bytes


async def hold(ingest: Ingest, data: bytes, event_id: str = "committed") -> None:
    """Let ingest learn that the bytes are those of a committed version, kept at kept/model.bin."""
    location = await ingest.blobs.put("muniment-models", "kept/model.bin", data)
    where = {"bucket": location.bucket, "key": location.key, "version_id": location.version_id}
    event = VersionAvailable.model_validate(
        {
            "publication_id": publication_id_of("/another/region", event_id),
            "model": "digits",
            "number": 1,
            "id": "sha256:" + "ab" * 32,
            "branch": "main",
            "stability": "stable",
            "track": "production",
            "operator": "muniment|ada",
            "committed_at": "2026-01-02T03:04:05Z",
            "manifest": where,
            "files": [{**declared(data), "format": "raw", "location": where}],
        }
    )
    await ingest.tell(event)


async def test_held_bytes_that_are_gone_are_forgotten(ingest: Ingest) -> None:
    await hold(ingest, DATA)
    version = await ingest.blobs.stat("muniment-models", "kept/model.bin")
    await ingest.blobs.delete_version(version)
    publication_id = await ingest.publish(declared(DATA))
    row = await ingest.publication(publication_id)
    assert row is not None
    assert '"code": "bytes_missing"' in row["rejection"]
    assert await ingest.count("held_blob") == 0


async def test_the_first_place_of_held_bytes_stays(ingest: Ingest) -> None:
    await hold(ingest, DATA)
    first = await ingest.pool.fetchval("SELECT version_id FROM held_blob")
    await hold(ingest, DATA, "again")
    assert await ingest.pool.fetchval("SELECT version_id FROM held_blob") == first
