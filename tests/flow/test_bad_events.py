"""Bad events on Kafka: each gets its one answer and its audit entry, and the partition moves on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from muniment.contracts import topics
from muniment.contracts.cloudevent import encode
from muniment.contracts.ids import publication_id_of
from muniment.contracts.strict_json import MAX_BYTES

from .bad_input import Headers, Intake, Place, event_of, new_id, raw_batch, sealed, without, zstd_batch
from .bad_values import TEXTS, payload
from .conftest import Outside, header

MIB = 1024 * 1024
BROKER_MAX = 2 * MIB


# -- the same again, another under the same id, and orders that should not be


async def test_a_thousand_copies_on_all_partitions_are_one_version(intake: Intake, registry: Outside) -> None:
    file = await registry.land("model.bin", b"sent a thousand times")
    record, flow = registry.event("bad-copies", [file])
    send = registry.producer.send
    sent = [
        await send(intake.topic, value=record.value, headers=record.headers, partition=number % 3)
        for number in range(1000)
    ]
    places = {(one.partition, one.offset) for one in await asyncio.gather(*sent)}
    intake.commits["bad-copies"] += 1
    await intake.committed(flow)
    for partition in range(3):  # a good one behind the last copy on each partition
        last, its_flow = registry.event("bad-copies", [file], run_id=f"last-{partition}")
        await intake.put(last.headers, last.value, last.key, partition)
        intake.commits["bad-copies"] += 1
        await registry.until_seen(topics.VERSION_AVAILABLE, its_flow)
    assert len(registry.records(topics.VERSION_AVAILABLE, flow)) == 1
    assert len([v async for v in registry.client.versions("bad-copies")]) == 4
    of_them = [e for e in intake.entries() if (e["cause"].get("partition"), e["cause"].get("offset")) in places]
    of_flow = [e for e in of_them if e["cause"].get("topic") == intake.topic]
    assert [e["action"] for e in of_flow] == ["publication.accepted"]


async def test_the_same_id_with_other_content_is_a_conflict_and_the_first_holds(
    intake: Intake, registry: Outside
) -> None:
    file = await registry.land("model.bin", b"first content")
    record, flow = registry.event("bad-same-id", [file], metrics={"accuracy": 0.5})
    await registry.send(record)
    intake.commits["bad-same-id"] += 1
    first = await intake.committed(flow)
    other, same = registry.event("bad-same-id", [file], metrics={"accuracy": 0.9}, event_id=record.event_id)
    assert same == flow
    _, entry = await intake.set_aside(other.headers, other.value, "event_id_conflict", model="bad-same-id")
    assert record.event_id in entry["reason"]
    shown = await registry.client.publication(flow)
    assert (shown.stage, shown.version and shown.version.id) == ("committed", first["id"])


async def test_events_of_the_past_change_nothing(intake: Intake, registry: Outside) -> None:
    """A refused candidate is not resurrected by its old events, nor a version doubled."""
    file = await registry.land("model.bin", b"old news")
    kept, kept_flow = registry.event("bad-past", [file], run_id="kept")
    gone, gone_flow = registry.event("bad-past", [file], run_id="gone", commit="manual")
    await registry.send(kept)
    await registry.send(gone)
    intake.commits["bad-past"] += 1
    await intake.committed(kept_flow)
    assert (await registry.client.publication(gone_flow, wait=20)).stage == "candidate"
    await registry.client.refuse(gone_flow, reason="not wanted")
    entry = await registry.until_audited(f"publications/{gone_flow}", "candidate.refused")
    assert entry["reason"] == "not wanted"
    for topic in (topics.VERSION_AVAILABLE, topics.MODEL_VALIDATED, topics.MODEL_TRAINED, topics.TRAINING_COMPLETED):
        for flow in (kept_flow, gone_flow):
            for old in registry.records(topic, flow):
                await registry.producer.send_and_wait(old.topic, old.value, key=old.key, headers=[*old.headers])
    for record in (kept, gone):
        await registry.send(record)
    after = await intake.send_good("bad-past")
    await intake.committed(after)
    assert (await registry.client.publication(gone_flow, wait=20)).stage == "rejected"
    assert [v.number async for v in registry.client.versions("bad-past")] == [2, 1]
    committed = [e for e in intake.entries() if e["resource"] == "models/bad-past/versions/1"]
    assert [e["action"] for e in committed] == ["version.committed"]


# -- values that are no JSON, or too much of it


@pytest.mark.parametrize("name", ["tombstone", *TEXTS])
async def test_a_value_that_cannot_be_read_is_set_aside_with_its_bytes(intake: Intake, name: str) -> None:
    value, code = {**TEXTS, "tombstone": (None, "event_tombstone")}[name]
    event = event_of(b"")
    await intake.set_aside(encode(event)[0], value, code, model="bad-text")
    assert await intake.unknown(event)


@pytest.mark.parametrize("key", [b"\xff\xfe", b"nul\x00nul", b"x" * 5000, b""], ids=["bytes", "nul", "long", "empty"])
async def test_a_key_may_be_anything(intake: Intake, key: bytes) -> None:
    event = event_of({"model": "-"})
    letter, _ = await intake.set_aside(*encode(event), "model_name_invalid", model="bad-key", key=key)
    assert letter["key"] == key[:1024].decode("utf-8", "replace")


# -- headers

GOOD_HEADERS, _ = encode(event_of(b""))
TYPE = topics.TRAINING_COMPLETED.type.encode()
HEADERS: dict[str, tuple[Headers, str]] = {
    "none": ([], "event_attribute_missing"),
    "no-id": (without(GOOD_HEADERS, "ce_id"), "event_attribute_missing"),
    "empty-id": ([*without(GOOD_HEADERS, "ce_id"), ("ce_id", b"")], "event_attribute_missing"),
    "no-source": (without(GOOD_HEADERS, "ce_source"), "event_attribute_missing"),
    "no-type": (without(GOOD_HEADERS, "ce_type"), "event_attribute_missing"),
    "no-specversion": (without(GOOD_HEADERS, "ce_specversion"), "event_attribute_missing"),
    "older-specversion": ([*without(GOOD_HEADERS, "ce_specversion"), ("ce_specversion", b"0.3")], "event_specversion"),
    "newer-specversion": ([*without(GOOD_HEADERS, "ce_specversion"), ("ce_specversion", b"1.1")], "event_specversion"),
    "odd-specversion": ([*without(GOOD_HEADERS, "ce_specversion"), ("ce_specversion", b"\x07")], "event_specversion"),
    "newer-type": ([*without(GOOD_HEADERS, "ce_type"), ("ce_type", TYPE[:-1] + b"2")], "event_type"),
    "other-type": ([*without(GOOD_HEADERS, "ce_type"), ("ce_type", b"muniment.model-trained.v1")], "event_type"),
    "id-with-a-space-around": ([*without(GOOD_HEADERS, "ce_id"), ("ce_id", b"run-1 ")], "event_attribute_invalid"),
    "id-with-a-control": ([*without(GOOD_HEADERS, "ce_id"), ("ce_id", b"run\x001")], "event_attribute_invalid"),
    "id-with-bidi": ([*without(GOOD_HEADERS, "ce_id"), ("ce_id", "a\u202eb".encode())], "event_attribute_invalid"),
    "id-without-end": ([*without(GOOD_HEADERS, "ce_id"), ("ce_id", b"x" * 100_000)], "event_attribute_invalid"),
    "two-ids": ([*GOOD_HEADERS, ("ce_id", b"another")], "event_attribute_invalid"),
    "id-no-utf-8": ([*without(GOOD_HEADERS, "ce_id"), ("ce_id", b"\xff\xfe")], "event_attribute_invalid"),
    "null-attribute": ([*GOOD_HEADERS, ("ce_x", None)], "event_attribute_invalid"),
    "null-id": ([*without(GOOD_HEADERS, "ce_id"), ("ce_id", None)], "event_attribute_invalid"),
    "name-of-controls": ([*GOOD_HEADERS, ("ce_\x00\x07\u202e", b"1")], "event_attribute_invalid"),
    "odd-time": ([*GOOD_HEADERS, ("ce_time", b"yesterday")], "event_attribute_invalid"),
    "time-without-a-zone": ([*GOOD_HEADERS, ("ce_time", b"2026-01-01T00:00:00")], "event_attribute_invalid"),
    "ten-thousand-attributes": (
        [*GOOD_HEADERS, *((f"ce_x{n}", b"1") for n in range(10_000))],
        "event_attribute_invalid",
    ),
    "an-image": ([("content-type", b"image/png"), *GOOD_HEADERS[1:]], "event_content_type"),
    "content-type-of-controls": ([("content-type", b"image/\x07\x1b[2J"), *GOOD_HEADERS[1:]], "event_content_type"),
    "content-type-null": ([("content-type", None), *GOOD_HEADERS[1:]], "event_attribute_invalid"),
    "both-modes": ([("content-type", b"application/cloudevents+json"), *GOOD_HEADERS[1:]], "event_mode_ambiguous"),
    "said-to-be-structured": ([("content-type", b"application/cloudevents+json")], "event_attribute_missing"),
    "avro": ([("content-type", b"application/cloudevents+avro\x07")], "event_content_type"),
}


@pytest.mark.parametrize("name", HEADERS)
async def test_headers_that_make_no_event_are_set_aside(intake: Intake, name: str) -> None:
    headers, code = HEADERS[name]
    value = json.dumps(payload("bad-headers")).encode()
    letter, _ = await intake.set_aside(headers, value, code, model="bad-headers")
    assert len(letter["headers"]) <= 64


async def test_headers_that_mean_nothing_to_us_change_nothing(intake: Intake, registry: Outside) -> None:
    file = await registry.land("model.bin", b"noise around it")
    record, flow = registry.event("bad-noise", [file])
    noise = [
        ("reply_to", topics.VERSION_AVAILABLE.wire_name(registry.prefix).encode()),
        ("correlation_id", b"x" * 100_000),
        ("Content-Length", b"-1"),
        ("junk", b"\xff\xfe"),
        ("nothing", None),
        ("traceparent", b"\xff" * 100),
        *((f"h{number}", b"1") for number in range(10_000)),
    ]
    place = await intake.put([*record.headers, *noise], record.value, record.key)
    intake.commits["bad-noise"] += 1
    await intake.committed(flow)
    assert (await intake.entry_at(place))["action"] == "publication.accepted"
    await intake.committed(await intake.send_good("bad-noise"))
    replies = [one for one in registry.seen if one.topic != intake.topic and header(one, "correlation_id") is not None]
    assert replies == []
    assert len(registry.records(topics.VERSION_AVAILABLE, flow)) == 1


async def test_a_header_whose_name_is_no_utf_8_is_set_aside(intake: Intake) -> None:
    """Brokers take such a record from whoever may write, and client libraries die of it."""
    event = event_of(payload("bad-header-name"))
    headers, value = encode(event)
    batch = raw_batch([*headers, ("ce_name", b"x")], value, b"bad-header-name")
    at = batch.index(b"ce_name")
    batch[at + 3 : at + 7] = b"\xff\xfe\xff\xfe"
    place = await intake.put_batch(sealed(batch), b"bad-header-name")
    after = await intake.send_good("bad-header-name")
    _, entry = await intake.letter_at(place, value, "event_attribute_invalid")
    assert "\ufffd" in entry["reason"]
    await intake.committed(after)
    assert await intake.unknown(event)


@pytest.mark.parametrize("media", ["application/json; charset=utf-16", "APPLICATION/JSON", ""])
async def test_json_is_utf_8_whatever_a_charset_says(intake: Intake, registry: Outside, media: str) -> None:
    record, flow = registry.event("bad-charset", [await registry.land("model.bin", b"ok")], run_id=new_id())
    headers = [("content-type", media.encode()), *without(record.headers, "content-type")]
    await intake.put(headers, record.value, record.key)
    intake.commits["bad-charset"] += 1
    await intake.committed(flow)


# -- sizes


@pytest.mark.parametrize("below", [1, 0])
async def test_an_event_up_to_the_limit_is_taken(intake: Intake, registry: Outside, below: int) -> None:
    record, flow = registry.event("bad-size", [await registry.land("model.bin", b"big event")], run_id=new_id())
    padded = record.value + b" " * (MAX_BYTES - below - len(record.value))
    assert len(padded) == MAX_BYTES - below
    await intake.put(record.headers, padded, record.key)
    intake.commits["bad-size"] += 1
    await intake.committed(flow)


@pytest.mark.parametrize("size", [MAX_BYTES + 1, BROKER_MAX - 1024], ids=["a-byte-above", "all-the-broker-takes"])
async def test_an_event_above_the_limit_is_set_aside(intake: Intake, size: int) -> None:
    event = event_of(json.dumps(payload("bad-size")).encode())
    headers, value = encode(event)
    letter, _ = await intake.set_aside(headers, value.ljust(size), "event_too_large", model="bad-size")
    assert letter["truncated"]
    assert await intake.unknown(event)


async def test_a_record_above_the_brokers_limit_is_refused_to_its_producer(intake: Intake) -> None:
    headers, _ = encode(event_of(b""))
    with pytest.raises(MessageSizeTooLargeError):
        await intake.put(headers, b" " * (BROKER_MAX + 1), b"bad-size")
    await intake.committed(await intake.send_good("bad-size"))


async def test_facts_that_fit_into_the_event_fit_into_all_that_repeat_it(intake: Intake) -> None:
    most = {f"p{number}": "\u00e9" * 10_000 for number in range(36)}  # 720 kB of UTF-8
    await intake.committed(await intake.send_good("bad-facts", params=most))
    more = {f"p{number}": "\u00e9" * 10_000 for number in range(45)}
    event = event_of(payload("bad-facts", facts={"params": more}))
    await intake.put(*encode(event), b"bad-facts")
    after = await intake.send_good("bad-facts")
    rejected, _ = await intake.rejection(publication_id_of(event.source, event.id), "publication_too_large")
    assert rejected["expected"].startswith("<= ")
    assert rejected["actual"].startswith("about ")
    await intake.committed(after)


async def test_compressed_batches_are_read(intake: Intake, registry: Outside) -> None:
    async with _producer(registry, "gzip") as producer:
        record, flow = registry.event("bad-zip", [await registry.land("model.bin", b"zipped")], run_id=new_id())
        await producer.send_and_wait(intake.topic, record.value, key=record.key, headers=record.headers)
        intake.commits["bad-zip"] += 1
        await intake.committed(flow)


async def test_a_batch_in_another_codec_is_set_aside(intake: Intake) -> None:
    headers, value = encode(event_of(payload("bad-zip")))
    place = await intake.put_batch(zstd_batch(raw_batch(headers, value, b"bad-zip")), b"bad-zip")
    after = await intake.send_good("bad-zip")
    letter, _ = await intake.letter_at(place, value, "batch_codec", exact=False)
    assert value.decode() in letter["text"], "its raw bytes are there: this codec has stored them as they were"
    await intake.committed(after)


async def test_a_batch_that_unpacks_to_far_more_is_set_aside_unread(intake: Intake, registry: Outside) -> None:
    headers, _ = encode(event_of(b""))
    async with _producer(registry, "gzip") as producer:  # 64 MiB that travel as 64 KiB, and so pass the broker
        sent = await producer.send_and_wait(intake.topic, b" " * (64 * MIB), key=b"bad-zip", headers=headers)
    after = await intake.send_good("bad-zip")
    letter, _ = await intake.letter_at(
        Place(sent.topic, sent.partition, sent.offset), None, "batch_too_large", exact=False
    )
    assert letter["value_size"] < MIB
    await intake.committed(after)


# -- ids


async def test_ids_that_differ_in_case_or_inner_space_are_different_events(intake: Intake, registry: Outside) -> None:
    """Ids are compared byte by byte (CloudEvents 1.0): only a space around one is refused, since nobody would see it."""
    base = new_id()
    file = await registry.land("model.bin", b"ids")
    flows = []
    for event_id in (f"{base} a", f"{base} A", f"{base}  a", f"{base}a"):
        record, flow = registry.event("bad-ids", [file], event_id=event_id, run_id=event_id)
        await registry.send(record)
        flows.append(flow)
    versions = [await registry.until_seen(topics.VERSION_AVAILABLE, flow) for flow in flows]
    assert len(set(flows)) == 4
    assert sorted(version["number"] for version in versions) == [1, 2, 3, 4]
    await intake.set_aside(
        [*without(encode(event_of(b""))[0], "ce_id"), ("ce_id", f" {base}a".encode())],
        json.dumps(payload("bad-ids")).encode(),
        "event_attribute_invalid",
        model="bad-ids-after",
    )


async def test_nothing_of_all_this_is_half_done(intake: Intake, registry: Outside) -> None:
    """Every letter was written by a decision about the input, and every publication has ended."""
    assert await intake.unfinished("uploading", "trained", "validating") == []
    codes = {letter["code"] async for letter in registry.client.dead_letters("ingest")}
    assert codes
    assert not codes & {"handler_failed", "transient"}
    for service in ("checksum-validator", "registry", "audit", "notifier"):
        assert [letter["code"] async for letter in registry.client.dead_letters(service)] == []


@asynccontextmanager
async def _producer(registry: Outside, codec: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=registry.endpoints.kafka.bootstrap, compression_type=codec, max_request_size=128 * MIB
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()
