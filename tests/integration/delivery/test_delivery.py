"""Whatever arrives has exactly one effect, one rejection or one dead letter, and never holds up the rest."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from muniment.contracts.cloudevent import encode
from muniment.ports.clock import SystemClock
from muniment.runtime.delivery import refusal_rules, refusal_tally, refused_requests
from muniment.runtime.delivery.refused_requests import RefusalSums
from muniment.runtime.delivery.transaction import Transactions

from .conftest import Toy, event, eventually

HOSTILE: dict[str, tuple[Any, bytes | None]] = {
    "tombstone": (encode(event("t"))[0], None),
    "empty": (encode(event("t"))[0], b""),
    "cut-json": (encode(event("t"))[0], b'{"model": "dig'),
    "nan": (encode(event("t"))[0], b'{"model": NaN}'),
    "duplicate-name": (encode(event("t"))[0], b'{"model": "a", "model": "b"}'),
    "deep": (encode(event("t"))[0], b"[" * 100_000),
    "huge-integer": (encode(event("t"))[0], b'{"a": 1' + b"0" * 400 + b"}"),
    "utf-16": (encode(event("t"))[0], '{"model": "digits"}'.encode("utf-16")),
    "byte-order-mark": (encode(event("t"))[0], b"\xef\xbb\xbf{}"),
    "nul": (encode(event("t"))[0], b'{"model": "a\\u0000"}'),
    "surrogate": (encode(event("t"))[0], b'{"model": "\\ud800"}'),
    "no-headers": ([], encode(event("t"))[1]),
    "bad-utf8-attribute": ([*encode(event("t"))[0], ("ce_x", b"\xff\xfe")], encode(event("t"))[1]),
    "unknown-field": (encode(event("t"))[0], b'{"model": "digits", "files": [], "surprise": 1}'),
    "older-specversion": (
        [("ce_specversion", b"0.3"), *[h for h in encode(event("t"))[0] if h[0] != "ce_specversion"]],
        encode(event("t"))[1],
    ),
    "missing-id": ([h for h in encode(event("t"))[0] if h[0] != "ce_id"], encode(event("t"))[1]),
    "spaced-id": encode(event(" spaced ")),
    "other-type": encode(event("t", type="muniment.model-trained.v1")),
    "wrong-content-type": ([("content-type", b"image/png"), *encode(event("t"))[0][1:]], encode(event("t"))[1]),
}


async def test_each_event_has_its_effect_in_order(toy: Toy) -> None:
    async with toy.running():
        for number in range(300):
            await toy.send(f"e{number}")
        assert await eventually(lambda: has_effects(toy, 300))
    assert await toy.effects() == [f"e{number}" for number in range(300)]
    assert await toy.dead_letters() == []


async def test_hostile_records_become_dead_letters_and_nothing_else_is_lost(toy: Toy) -> None:
    for name, (headers, value) in HOSTILE.items():
        await toy.send_raw(headers, value, partition=0)
        await toy.send(f"after-{name}")
        headers_ok, value_ok = encode(event(f"with-{name}"))
        noise = [("reply_to", b"muniment.audit-log.v1"), ("junk", b"\xff\xff"), ("correlation_id", b"x" * 5000)]
        await toy.send_raw([*headers_ok, *noise], value_ok, partition=0)
    async with toy.running():
        await eventually(lambda: has_effects(toy, 2 * len(HOSTILE)))
        letters = await eventually(lambda: has_letters(toy, len(HOSTILE)))
    assert sorted(await toy.effects()) == sorted(
        [f"after-{name}" for name in HOSTILE] + [f"with-{name}" for name in HOSTILE]
    )
    assert all(letter["reason"] and letter["code"] for letter in letters)
    assert "handler_failed" not in {letter["code"] for letter in letters}
    sizes = {letter["value_size"] for letter in letters}
    assert 100_000 in sizes  # the raw bytes are there to be looked at


async def test_a_flood_of_bad_records_makes_few_entries_and_each_one_counts(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)
    monkeypatch.setattr(refusal_tally, "minute_of", lambda _: minute)
    more = 37
    for _ in range(refusal_rules.ONE_BY_ONE + more):
        await toy.send_raw([("content-type", b"application/json")], b"no event")
    headers, _ = encode(event("other"))
    await toy.send_raw(headers, b"{")  # another code has entries of its own
    async with toy.running():
        await eventually(lambda: no_lag(toy))
    assert len(await toy.dead_letters()) == refusal_rules.ONE_BY_ONE + more + 1
    asked = await requests_of(toy)
    assert [one["action"] for one in asked] == ["publication.refused"] * (refusal_rules.ONE_BY_ONE + 1)
    assert len({one["resource"] for one in asked}) == len(asked)
    monkeypatch.setattr(refused_requests, "ended_before", lambda _: minute + refusal_rules.WINDOW)
    sums = RefusalSums(Transactions(toy.pool, "ingest", toy.prefix, SystemClock(), lambda: True))
    assert await sums.tell() == 1
    assert await sums.tell() == 0
    (told,) = (await requests_of(toy))[len(asked) :]
    assert (told["action"], told["outcome"], told["operator"]) == ("request.refused", "refused", "muniment|unsigned")
    assert told["resource"] == "dead-letters/ingest"
    changes = {change["path"]: change["after"] for change in told["changes"]}
    assert changes["count"] == more
    assert changes["operation"] == f"event {toy.topic}"


async def requests_of(toy: Toy) -> list[dict[str, Any]]:
    rows = await toy.pool.fetch("SELECT payload FROM outbox WHERE type = 'muniment.audit-requested.v1' ORDER BY seq")
    return [json.loads(row["payload"]) for row in rows]


async def test_a_thousand_duplicates_have_one_effect(toy: Toy) -> None:
    headers, value = encode(event("same"))
    for number in range(1000):
        await toy.producer.send(toy.topic, value=value, headers=headers, partition=number % 3)
    await toy.send("last")
    async with toy.running():
        await eventually(lambda: no_lag(toy))
    assert sorted(await toy.effects()) == ["last", "same"]
    assert await toy.dead_letters() == []


async def test_the_same_id_with_other_content_is_a_conflict_and_the_first_wins(toy: Toy) -> None:
    await toy.send("same")
    await toy.send("same", do="nothing")
    async with toy.running():
        letters = await eventually(lambda: has_letters(toy, 1))
    assert [letter["code"] for letter in letters] == ["event_id_conflict"]
    assert await toy.effects() == ["same"]
    requests = await toy.pool.fetch("SELECT payload FROM outbox WHERE type = 'muniment.audit-requested.v1'")
    assert len(requests) == 1


async def test_a_bug_ends_one_event_and_not_its_batch(toy: Toy) -> None:
    for number in range(20):
        await toy.send(f"e{number}", do="bug" if number == 7 else None)
    async with toy.running():
        await eventually(lambda: has_effects(toy, 19))
        letters = await eventually(lambda: has_letters(toy, 1))
    assert [letter["code"] for letter in letters] == ["handler_failed"]
    assert "a bug" in letters[0]["reason"]
    assert "e7" not in await toy.effects()


async def test_a_rejection_is_recorded_once(toy: Toy) -> None:
    await toy.send("wrong", do="reject")
    await toy.send("wrong", do="reject")
    await toy.send("right")
    async with toy.running():
        await eventually(lambda: has_effects(toy, 1))
        await eventually(lambda: no_lag(toy))
    rows = await toy.pool.fetch("SELECT * FROM rejection")
    assert [(row["event_id"], row["code"]) for row in rows] == [("wrong", "not_wanted")]
    assert await toy.dead_letters() == []


@pytest.mark.parametrize("fault", ["transient", "oserror"])
async def test_a_transient_failure_goes_through_retry_topics_and_heals(toy: Toy, fault: str) -> None:
    toy.handler.broken = lambda event_id: toy.handler.prepared[event_id] < 8
    await toy.send("sick", do=fault)
    await toy.send("well")
    async with toy.running():
        await eventually(lambda: has_effects(toy, 2))
    assert (await toy.effects())[0] == "well", "the sick one held up the partition"
    attempt = await toy.pool.fetchval("SELECT attempt FROM effect WHERE event_id = 'sick'")
    assert attempt > 6
    sent = await toy.pool.fetch("SELECT DISTINCT aggregatetype FROM outbox WHERE aggregatetype LIKE '%retry%'")
    assert len(sent) >= 2, "it rose to a longer delay"


async def test_what_never_heals_becomes_a_dead_letter(toy: Toy) -> None:
    await toy.send("hopeless", do="transient")
    async with toy.running(max_attempts=5):
        letters = await eventually(lambda: has_letters(toy, 1))
    assert letters[0]["code"] == "store_away"
    assert letters[0]["attempts"] >= 5
    assert await toy.effects() == []


async def test_a_restart_between_batches_neither_loses_nor_repeats(toy: Toy) -> None:
    for round_number in range(3):
        async with toy.running():
            for number in range(40):
                await toy.send(f"r{round_number}-{number}")
            await eventually(lambda: has_effects(toy, round_number * 40 + 1))  # noqa: B023
    async with toy.running():
        await eventually(lambda: has_effects(toy, 120))
    effects = await toy.effects()
    assert len(effects) == len(set(effects)) == 120


async def test_while_the_database_is_away_events_wait(toy: Toy) -> None:
    async with toy.running():
        await toy.send("before")
        await eventually(lambda: has_effects(toy, 1))
        admin = await asyncpg.connect(toy.dsn)
        name = await admin.fetchval("SELECT current_database()")
        other = await asyncpg.connect(toy.dsn.replace(f"/{name}?", "/postgres?"))
        await other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.close()
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()",
            name,
        )
        await toy.send("during")
        await other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await other.close()
        await eventually(lambda: has_effects(toy, 2))
    assert await toy.effects() == ["before", "during"]
    assert await toy.dead_letters() == []


async def has_effects(toy: Toy, count: int) -> bool:
    return len(await toy.effects()) >= count


async def has_letters(toy: Toy, count: int) -> list[dict[str, Any]]:
    letters = await toy.dead_letters()
    return letters if len(letters) >= count else []


async def no_lag(toy: Toy) -> bool:
    from aiokafka import AIOKafkaConsumer, TopicPartition

    consumer = AIOKafkaConsumer(bootstrap_servers=toy.kafka.bootstrap, group_id=f"{toy.prefix}toy")
    await consumer.start()
    try:
        partitions = [TopicPartition(toy.topic, number) for number in range(3)]
        ends = await consumer.end_offsets(partitions)
        return all([(await consumer.committed(p) or 0) >= end for p, end in ends.items()])
    finally:
        await consumer.stop()


async def test_a_record_that_cannot_even_be_described_does_not_stop_the_partition(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from muniment.runtime.delivery import processor

    describe = processor.set_aside

    async def choke(tx: Any, refusal: Any, *, group: str) -> None:
        if refusal.error.code != "dead_letter_failed":
            raise RuntimeError("whatever was not thought of")
        await describe(tx, refusal, group=group)

    monkeypatch.setattr(processor, "set_aside", choke)
    await toy.send_raw([], b"no event")
    await toy.send("after")
    async with toy.running():
        letters = await eventually(lambda: has_letters(toy, 1))
        await eventually(lambda: has_effects(toy, 1))
    assert [(letter["code"], bytes(letter["value"])) for letter in letters] == [("dead_letter_failed", b"no event")]


async def test_a_named_replica_keeps_its_place_in_the_group_while_it_is_away(toy: Toy) -> None:
    async with toy.running(instance="one"):
        await toy.send("before")
        await eventually(lambda: has_effects(toy, 1))
    assert await members(toy) == ["one"], "a killed one would be waited for by its own successor"
    async with toy.running(instance="one"):
        await toy.send("after")
        await eventually(lambda: has_effects(toy, 2))
        assert await members(toy) == ["one"]


async def test_a_replica_without_a_name_leaves_the_group(toy: Toy) -> None:
    async with toy.running():
        await toy.send("before")
        await eventually(lambda: has_effects(toy, 1))
    assert await members(toy) == []


async def members(toy: Toy) -> list[str]:
    """Names of the group's members; a static member's id begins with its name (KIP-345)."""
    admin = AIOKafkaAdminClient(bootstrap_servers=toy.kafka.bootstrap)
    await admin.start()
    try:
        (answer,) = await admin.describe_consumer_groups([f"{toy.prefix}toy"])
    finally:
        await admin.close()
    ((_, _, _, _, _, found, *_),) = answer.groups
    return [member[0].rsplit("-", 5)[0] for member in found]
