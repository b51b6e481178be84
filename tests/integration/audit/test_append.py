"""Appending: contiguous, once for each event, mirrored to the topic, all of it or nothing."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest

from muniment.audit.domain import Head, extend
from muniment.audit.merkle import EMPTY_ROOT, Frontier, leaf_hash, root_of
from muniment.audit.store import AuditLog
from muniment.contracts.canonical import canonical_json
from muniment.contracts.events import AuditLogged

from .conftest import Log, Writer, incoming


async def mirrored(writer: Writer) -> list[AuditLogged]:
    """What the outbox will publish on the audit-log topic, in its order."""
    rows = await writer.pool.fetch("SELECT aggregatetype, aggregateid, payload FROM outbox ORDER BY seq")
    assert {(row["aggregatetype"], row["aggregateid"]) for row in rows} <= {("muniment.audit-log.v1", "audit")}
    return [AuditLogged.model_validate_json(row["payload"]) for row in rows]


async def check_whole_log(writer: Writer) -> list[dict[str, Any]]:
    """Recompute everything from the leaves, and compare with each row, each head and each mirrored record."""
    rows = await writer.pool.fetch("SELECT * FROM entry ORDER BY index")
    heads = await writer.pool.fetch("SELECT * FROM tree_head ORDER BY size")
    assert [row["index"] for row in rows] == list(range(len(rows)))
    leaves = [leaf_hash(row["data"]) for row in rows]
    roots = [EMPTY_ROOT, *(root_of(leaves[: size + 1]) for size in range(len(leaves)))]
    assert [row["leaf_hash"] for row in rows] == leaves
    assert [row["root_hash"] for row in rows] == roots[1:]
    assert heads[0]["size"] == 0
    assert heads[-1]["size"] == len(rows)
    for before, head in zip([None, *heads], heads, strict=False):
        assert head["previous"] == (None if before is None else before["size"])
        assert head["root"] == roots[head["size"]]
        assert Frontier(head["size"], tuple(head["frontier"])).root() == head["root"]
    entries = [json.loads(row["data"]) for row in rows]
    assert [canonical_json(entry) for entry in entries] == [row["data"] for row in rows]
    for index, record in enumerate(await mirrored(writer)):
        assert (record.index, record.tree_size) == (index, index + 1)
        assert (record.leaf_hash, record.root_hash) == (leaves[index].hex(), roots[index + 1].hex())
        assert record.entry == entries[index]
    return entries


async def test_an_empty_log_has_the_empty_tree(writer: Writer) -> None:
    head = await AuditLog(writer.pool).head()
    assert (head.size, head.root) == (0, EMPTY_ROOT)


async def test_batches_of_many_sizes_make_one_log(writer: Writer) -> None:
    sizes = [1, 2, 1, 7, 64, 1, 130, 3]
    count = 0
    for size in sizes:
        await writer.append(*(incoming(f"e-{count + number}", "flow") for number in range(size)))
        count += size
    entries = await check_whole_log(writer)
    assert [entry["event_id"] for entry in entries] == [f"e-{number}" for number in range(sum(sizes))]
    assert len(await mirrored(writer)) == sum(sizes)
    assert await writer.pool.fetchval("SELECT count(*) FROM tree_head") == len(sizes) + 1


async def test_an_event_has_one_entry_however_often_it_comes(writer: Writer) -> None:
    await writer.append(incoming("a"), incoming("b"), incoming("a"))
    await writer.append(incoming("b"), incoming("c"), incoming("a"))
    await writer.append(incoming("c"))
    entries = await check_whole_log(writer)
    assert [entry["event_id"] for entry in entries] == ["a", "b", "c"]
    assert len(await mirrored(writer)) == 3
    assert await writer.pool.fetchval("SELECT count(*) FROM tree_head") == 3


async def test_a_transaction_that_fails_leaves_nothing_and_the_next_takes_its_place(writer: Writer) -> None:
    await writer.append(incoming("a"))
    prepared = await writer.prepare([incoming("lost-1"), incoming("lost-2")])

    async def apply_and_fail() -> None:
        async with writer.transactions.begin() as tx:
            await writer.handler.apply(tx, prepared)
            raise ConnectionResetError("the process ends here")

    with pytest.raises(ConnectionResetError):
        await apply_and_fail()
    assert await writer.pool.fetchval("SELECT count(*) FROM entry") == 1
    await writer.append(incoming("b"))
    await writer.append(incoming("lost-1"), incoming("lost-2"))
    entries = await check_whole_log(writer)
    assert [entry["event_id"] for entry in entries] == ["a", "b", "lost-1", "lost-2"]


async def test_log_time_stands_still_while_the_clock_goes_back(log: Log, writer: Writer) -> None:
    await writer.append(incoming("a"))
    log.clock.move(-3600)
    await writer.append(incoming("b"))
    log.clock.move(3600.000001)
    await writer.append(incoming("c"))
    entries = await check_whole_log(writer)
    assert [entry["log_time"] for entry in entries] == [
        "2026-05-17T12:00:00.000000Z",
        "2026-05-17T12:00:00.000000Z",
        "2026-05-17T12:00:00.000001Z",
    ]


async def test_the_largest_entry_fits_the_table_and_its_indexes(writer: Writer) -> None:
    wide = "".join(chr(0x20000 + number) for number in range(2000))
    largest = incoming(
        "".join(chr(0x20000 + number) for number in range(256)),
        wide[:1024],
        action=wide[:256],
        operator=wide[256:512],
        model=wide[512:768],
        resource=wide,
        reason=wide,
        changes=[{"path": wide, "after": wide}] * 100,
    )
    await writer.append(largest)
    (entry,) = await check_whole_log(writer)
    assert entry["resource"] == wide


async def test_the_database_refuses_a_second_log_from_one_head(writer: Writer) -> None:
    await writer.append(incoming("a"))
    empty = Head(Frontier(), writer.clock.now())
    forged = extend(empty, [(await writer.handler.prepare(incoming("b"))).request], set(), writer.clock.now())[0]
    with pytest.raises(asyncpg.UniqueViolationError):
        await writer.pool.execute(
            "INSERT INTO tree_head (size, previous, root, frontier, log_time, writer_epoch)"
            " VALUES ($1 + 1, 0, $2, $3, now(), 1)",
            forged.tree.size,
            forged.tree.root(),
            list(forged.tree.nodes),
        )
