"""The wired service behind delivery: records in, log and outbox out, whatever comes twice or is no request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from muniment.adapters.memory.store import MemoryBlobStore
from muniment.audit.app import build, service
from muniment.contracts import topics
from muniment.contracts.cloudevent import CloudEvent, encode
from muniment.contracts.events import AuditLogged
from muniment.runtime.delivery.processor import Processor
from muniment.runtime.delivery.record import Record
from muniment.runtime.identity.store import Identity
from muniment.runtime.metrics import Metrics
from muniment.runtime.service import Deps
from muniment.runtime.settings import DeliverySettings, Settings

from .conftest import Writer, incoming

TOPIC = topics.AUDIT_REQUESTED.wire_name("muniment.")


def record(offset: int, event_id: str, **changes: Any) -> Record:
    """An audit request as it lies on the topic."""
    request = incoming(event_id, "flow", **changes)
    data = request.data.model_dump_json(exclude_none=True).encode()
    headers, value = encode(
        CloudEvent(
            event_id, "/muniment/registry", topics.AUDIT_REQUESTED.type, data, extensions={"correlationid": "flow"}
        )
    )
    return Record(TOPIC, 0, offset, b"digits", value, tuple(headers))


@pytest.fixture
async def processor(writer: Writer, tmp_path: Path) -> AsyncIterator[Processor]:
    blobs = MemoryBlobStore()
    await blobs.ensure_bucket("muniment-audit", object_lock=True)
    nothing = cast("Any", None)  # the service asks for no identities
    deps = Deps(
        Settings(data_dir=tmp_path),
        writer.pool,
        writer.transactions,
        blobs,
        cast("Identity", nothing),
        writer.clock,
        Metrics(CollectorRegistry()),
    )
    built = build(deps)
    tasks = [asyncio.ensure_future(task()) for task in built.tasks]
    yield Processor(service.name, "muniment.audit", built.routes, writer.transactions, DeliverySettings())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def logged(writer: Writer) -> list[tuple[int, str]]:
    rows = await writer.pool.fetch(
        "SELECT payload FROM outbox WHERE aggregatetype = 'muniment.audit-log.v1' ORDER BY seq"
    )
    events = [AuditLogged.model_validate_json(row["payload"]) for row in rows]
    return [(event.index, str(event.entry["event_id"])) for event in events]


async def test_it_takes_requests_alone() -> None:
    assert (service.name, service.schema, service.package) == ("audit", "audit", "muniment.audit")


async def test_records_become_the_log_in_their_order(writer: Writer, processor: Processor) -> None:
    assert [route.topic for route in processor.routes] == [topics.AUDIT_REQUESTED]
    await processor.process([record(number, f"e-{number}") for number in range(20)])
    await processor.process([record(20, "e-3"), record(21, "e-20"), record(22, "e-20")])
    assert await logged(writer) == [(number, f"e-{number}") for number in range(21)]
    assert await writer.pool.fetchval("SELECT count(*) FROM dead_letter") == 0


async def test_an_event_is_known_even_when_the_inbox_has_forgotten_it(writer: Writer, processor: Processor) -> None:
    await processor.process([record(0, "a"), record(1, "b")])
    await writer.pool.execute("DELETE FROM inbox")
    await processor.process([record(0, "a"), record(2, "c"), record(1, "b")])
    assert await logged(writer) == [(0, "a"), (1, "b"), (2, "c")]


async def test_what_is_no_request_is_set_aside_and_the_rest_is_appended(writer: Writer, processor: Processor) -> None:
    broken = record(1, "broken")
    other = record(4, "a", reason="another story under a known id")
    await processor.process(
        [
            record(0, "a"),
            Record(broken.topic, 0, 1, None, b'{"action": 1}', broken.headers),
            record(2, "x" * 1024),
            record(3, "b", changes=[{"path": "p", "after": 2**53 - 1}]),
            other,
        ]
    )
    assert [event_id for _, event_id in await logged(writer)] == ["a", "x" * 1024, "b"]
    rows = await writer.pool.fetch('SELECT "offset", code FROM dead_letter ORDER BY "offset"')
    assert [row["offset"] for row in rows] == [1, 4]
    assert rows[1]["code"] == "event_id_conflict"


async def test_an_epoch_lost_between_two_batches_costs_a_try_and_nothing_else(
    writer: Writer, processor: Processor
) -> None:
    await processor.process([record(0, "a")])
    await writer.pool.execute("UPDATE writer SET epoch = epoch + 7")
    await processor.process([record(1, "b"), record(2, "c")])
    assert await logged(writer) == [(0, "a"), (1, "b"), (2, "c")]
    retried = await writer.pool.fetchval("SELECT count(*) FROM outbox WHERE aggregatetype LIKE '%.retry-%'")
    assert retried == 0, "nothing went to a retry topic"
