"""The log in Postgres: append under the writer's lock, and read.

Appending is one transaction: `lock_log` (fence, then head), `known_event_ids`, `append`. The writer's row stays locked
until it ends, so the log has one order, and outbox rows written in it have the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from muniment.audit.domain import Appended, Head
from muniment.audit.lease import SILENCE_S
from muniment.audit.merkle import Frontier
from muniment.contracts.errors import NotFound, Transient
from muniment.runtime.sql import load_queries

if TYPE_CHECKING:
    from muniment.runtime.delivery.transaction import Connection

SQL = load_queries("muniment.audit")
MAX_INDEX: Final = 2**63 - 1
COLUMNS: Final = (
    "index",
    "event_id",
    "leaf_hash",
    "root_hash",
    "data",
    "log_time",
    "action",
    "outcome",
    "operator",
    "model",
    "resource",
    "correlation",
)


class Fenced(Transient):
    """The writer's epoch has moved on: another process may append now, this one may not."""


async def lock_log(connection: Connection, epoch: int) -> Head:
    """Lock the log for the rest of the transaction; returns its head.

    Raises `Fenced` (`audit_writer_fenced`) and `Transient` (`audit_log_damaged`).
    """
    writer = await connection.fetchrow(SQL["lock_writer"], f"{SILENCE_S * 1000:.0f}ms")
    if writer is None or writer["epoch"] != epoch:
        raise Fenced(
            "audit_writer_fenced",
            "another process has become the audit log's writer",
            expected=f"epoch {epoch}",
            actual=f"epoch {writer['epoch']} of {writer['holder']}" if writer else "no writer row",
            hint="nothing to do: the batch is tried again under a new lease",
        )
    # A statement of its own: one that waits for a row lock still sees the tables as they were before the wait.
    row = await connection.fetchrow(SQL["head_to_extend"])
    if row is None:
        raise damaged("the tree has no head at all", expected="a head of size 0", actual="none")
    tree = Frontier(row["size"], tuple(row["frontier"]))
    last_root = row["last_root"] if row["size"] else tree.root()
    if not tree.root() == row["root"] == last_root:
        raise damaged(
            f"the tree's head at size {row['size']} disagrees with itself or with its last entry",
            expected=f"root {tree.root().hex()}",
            actual=f"head {row['root'].hex()}, entry {'missing' if last_root is None else last_root.hex()}",
        )
    return Head(tree, row["log_time"])


_REPAIR: Final = "restore the tables from a backup or the audit-log topic; what waits is then appended and published"


def damaged(what: str, *, expected: str, actual: str, hint: str = _REPAIR) -> Transient:
    """The refusal (`audit_log_damaged`) to go on with a log whose parts disagree.

    Transient, so that requests wait for the repair: dead letters would leave their operations without entries.
    """
    return Transient(
        "audit_log_damaged",
        f"the audit log was changed by other hands and is not added to: {what}",
        expected=expected,
        actual=actual,
        hint=hint,
    )


async def known_event_ids(connection: Connection, event_ids: Sequence[str]) -> set[str]:
    """Those of the ids that have an entry."""
    return {row["event_id"] for row in await connection.fetch(SQL["known_event_ids"], event_ids)}


async def append(connection: Connection, before: Head, after: Head, entries: Sequence[Appended], epoch: int) -> None:
    """Write the entries and the head that covers them. Raises `Transient` (`audit_log_damaged`) if a place is taken."""
    tree = after.tree
    try:
        # COPY: a parameter of rows is unpacked by an executor node of its own before it is inserted.
        await connection.copy_records_to_table("entry", records=map(_row, entries), columns=COLUMNS)
        await connection.execute(
            SQL["insert_head"], tree.size, before.tree.size, tree.root(), list(tree.nodes), after.log_time, epoch
        )
    except asyncpg.UniqueViolationError as error:
        raise damaged(
            "a place behind its head is taken", expected=f"nothing from index {before.tree.size} on", actual=str(error)
        ) from error


def _row(entry: Appended) -> tuple[Any, ...]:
    """The entry as `COLUMNS` has it."""
    asked = entry.request.data
    return (
        entry.index,
        entry.request.event_id,
        entry.leaf_hash,
        entry.root_hash,
        entry.data,
        entry.log_time,
        asked.action,
        asked.outcome,
        asked.operator,
        asked.model,
        asked.resource,
        entry.request.correlation,
    )


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as the log holds it: `data` is the leaf's, `root_hash` the tree's root at size `index` + 1."""

    index: int
    leaf_hash: bytes
    root_hash: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class StoredHead:
    """The tree at one size."""

    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Search:
    """Which entries to list; None takes all. Names are matched whole, a model's without regard to case.

    `since` <= log time < `until`; `after_index` < index. `previous` is the index of the last entry of the page before.
    """

    model: str | None = None
    action: str | None = None
    operator: str | None = None
    resource: str | None = None
    correlation: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after_index: int | None = None
    oldest_first: bool = True
    previous: int | None = None


class AuditLog:
    """The log for readers."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def head(self) -> StoredHead:
        """The newest head."""
        row = await self._pool.fetchrow(SQL["head"])
        if row is None:
            raise RuntimeError("the table tree_head has lost its first row")
        return StoredHead(row["size"], row["root"])

    async def entry(self, index: int) -> tuple[StoredEntry, StoredHead]:
        """The entry at `index`, and the head that first covered it. Raises `NotFound` (`audit_entry_not_found`)."""
        async with self._pool.acquire(timeout=30) as connection:
            row = await connection.fetchrow(SQL["get_entry"], index) if 0 <= index <= MAX_INDEX else None
            head = await connection.fetchrow(SQL["head_covering"], index) if row is not None else None
        if row is None or head is None:
            size = (await self.head()).size
            raise NotFound(
                "audit_entry_not_found",
                f"the audit log has no entry {index}",
                expected=f"0 <= index < {size}",
                actual=index,
            )
        return _stored(row), StoredHead(head["size"], head["root"])

    async def search(self, search: Search, *, limit: int) -> list[StoredEntry]:
        """At most `limit` entries."""
        query = SQL["list_oldest_first" if search.oldest_first else "list_newest_first"]
        async with self._pool.acquire(timeout=30) as connection, connection.transaction(readonly=True):
            await connection.execute(SQL["exact_plans"])
            first, end = await self._bounds(connection, search)
            if first >= end:
                return []
            rows = await connection.fetch(
                query,
                first,
                end,
                search.model,
                search.action,
                search.operator,
                search.resource,
                search.correlation,
                search.outcome,
                limit,
            )
        return [_stored(row) for row in rows]

    async def _bounds(self, connection: Connection, search: Search) -> tuple[int, int]:
        """The search's times and cursor as a range of indexes: log times never go back, so a time is a place."""
        first, end = 0, MAX_INDEX
        if search.since is not None:
            first = await self._first_at_or_after(connection, search.since)
        if search.until is not None:
            end = await self._first_at_or_after(connection, search.until)
        if search.after_index is not None:
            first = max(first, search.after_index + 1)
        if search.previous is not None and search.oldest_first:
            first = max(first, search.previous + 1)
        elif search.previous is not None:
            end = min(end, search.previous)
        return first, end

    async def _first_at_or_after(self, connection: Connection, moment: datetime) -> int:
        index: int | None = await connection.fetchval(SQL["first_at_or_after"], moment)
        return MAX_INDEX if index is None else index


def _stored(row: asyncpg.Record) -> StoredEntry:
    return StoredEntry(row["index"], row["leaf_hash"], row["root_hash"], row["data"])
