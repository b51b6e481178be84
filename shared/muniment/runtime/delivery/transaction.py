"""One unit of work: state, outbox and inbox rows in one Postgres transaction."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from muniment.contracts import topics
from muniment.contracts.cloudevent import CloudEvent, content_event_id, encode
from muniment.contracts.events import AuditRequested, Authentication, Cause, Change
from muniment.contracts.model import Payload, rfc3339
from muniment.contracts.topics import Topic
from muniment.ports.clock import Clock
from muniment.ports.timing import Observe, unobserved
from muniment.runtime.delivery.header_text import pack_headers
from muniment.runtime.sql import load_queries

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]

SQL = load_queries("muniment.runtime.delivery")


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A record to be published. Column names follow Debezium's outbox router, so that it can take over the relay."""

    id: str
    aggregatetype: str
    """The Kafka topic."""
    aggregateid: str
    """The Kafka key: the model's name."""
    type: str
    payload: bytes
    headers: str
    """Kafka headers as `pack_headers` writes them."""


@dataclass(slots=True)
class Tx:
    """An open transaction of one service. What `emit` and `audit` add leaves when it commits, and only then."""

    connection: Connection
    service: str
    topic_prefix: str
    now: datetime
    outbox: list[OutboxRow] = field(default_factory=list)
    callbacks: list[Callable[[], None]] = field(default_factory=list)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call this once the transaction has committed, to wake whoever waits in this process. Never on a rollback."""
        self.callbacks.append(callback)

    def emit(
        self,
        data: Payload,
        *,
        model: str,
        correlation: str,
        identity: Sequence[str],
        cause: str | None = None,
        subject: str | None = None,
    ) -> str:
        """Send an event; returns its id, made from `identity`: the same facts give the same id on any replay.

        `correlation` is the publication id (or the request's), `cause` the id of the event that led to this one.
        """
        text = data.model_dump_json(exclude_none=True).encode()
        return self.emit_text(
            topics.OF[type(data)],
            text,
            model=model,
            correlation=correlation,
            identity=identity,
            cause=cause,
            subject=subject,
        )

    def emit_text(
        self,
        topic: Topic,
        text: bytes,
        *,
        model: str,
        correlation: str,
        identity: Sequence[str],
        cause: str | None = None,
        subject: str | None = None,
    ) -> str:
        """`emit` for a payload whose JSON is there already: `text` is the topic's payload, and is not checked."""
        extensions = {"partitionkey": model, "correlationid": correlation}
        if cause is not None:
            extensions["causationid"] = cause
        event = CloudEvent(
            id=content_event_id(topic.type, *identity),
            source=f"/muniment/{self.service}",
            type=topic.type,
            data=text,
            time=rfc3339(self.now),
            subject=subject,
            dataschema=f"/schemas/{topic.name}.v{topic.major}.json",
            extensions=extensions,
        )
        self.send(topic.wire_name(self.topic_prefix), event)
        return event.id

    def audit(
        self,
        *,
        action: str,
        resource: str,
        operator: str,
        authenticated_by: Authentication,
        cause: Cause,
        model: str | None = None,
        changes: Sequence[Change] = (),
        refused: bool = False,
        reason: str | None = None,
        correlation: str | None = None,
    ) -> str:
        """Ask for the operation's audit entry; returns the request's event id. One call per operation, always."""
        request = AuditRequested(
            action=action,
            outcome="refused" if refused else "done",
            service=self.service,
            operator=operator,
            authenticated_by=authenticated_by,
            model=model,
            resource=resource,
            changes=tuple(changes),
            reason=reason,
            cause=cause,
            occurred_at=self.now,
        )
        return self.emit(
            request,
            model=model or resource[:128],
            correlation=correlation or cause.id,
            identity=(self.service, action, resource, request.outcome, cause.kind, cause.id),
            cause=cause.id,
        )

    def send(self, wire_name: str, event: CloudEvent) -> None:
        """Put an event for any topic into the outbox."""
        headers, value = encode(event)
        self.outbox.append(OutboxRow(event.id, wire_name, event.key or "", event.type, value, pack_headers(headers)))


@dataclass(slots=True)
class Transactions:
    """Opens transactions of one service and wakes its relay after each that sent something."""

    pool: asyncpg.Pool[Any]
    service: str
    topic_prefix: str
    clock: Clock
    wake_relay: Callable[[], bool]
    """Wakes the relay of this process; False when another process leads, which NOTIFY then wakes."""
    observe: Observe = unobserved

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Tx]:
        """A transaction: commits at the end of the block, rolls back on any error."""
        began = time.perf_counter()
        async with self.pool.acquire(timeout=30) as connection:
            async with connection.transaction():
                tx = Tx(connection, self.service, self.topic_prefix, self.clock.now())
                yield tx
                await flush(tx)
                written = time.perf_counter()
            committed = time.perf_counter()
            self.observe("commit", committed - written)
            self.observe("transaction", committed - began)
            for callback in tx.callbacks:
                callback()
            if tx.outbox and not self.wake_relay():
                await connection.execute(SQL["notify_relay"], f"muniment_outbox_{self.service}")


async def flush(tx: Tx) -> None:
    """Write the transaction's outbox rows in one statement."""
    if not tx.outbox:
        return
    rows = tx.outbox
    await tx.connection.execute(
        SQL["insert_outbox"],
        [row.id for row in rows],
        [row.aggregatetype for row in rows],
        [row.aggregateid for row in rows],
        [row.type for row in rows],
        [row.payload for row in rows],
        [row.headers for row in rows],
    )
