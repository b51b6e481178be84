"""What the audit service does with a request: append it, and mirror the entry on the topic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from muniment.audit import store
from muniment.audit.domain import Request, extend
from muniment.audit.lease import WriterLease
from muniment.contracts import topics
from muniment.contracts.events import AuditRequested
from muniment.runtime.delivery.handler import Handler
from muniment.runtime.delivery.incoming import Incoming
from muniment.runtime.delivery.transaction import Tx

LOG_KEY = "audit"
"""The Kafka key of every record of the log: it is one line, not one for each model."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that may be appended under `epoch`."""

    request: Request
    epoch: int


@dataclass(frozen=True, slots=True)
class AppendEntries(Handler[AuditRequested, Prepared]):
    """Appends a batch of audit requests to the log, in one transaction with their records for the topic.

    `appended` is called when the batch is committed: to have it published.
    """

    lease: WriterLease
    appended: Callable[[], None] = lambda: None

    async def prepare(self, item: Incoming[AuditRequested]) -> Prepared:
        """Hold the writer's lease: outside the transaction, since standing in line for it may take a while."""
        request = Request(item.event.id, item.event.correlation_id, item.data)
        return Prepared(request, await self.lease.hold())

    async def apply(self, tx: Tx, items: Sequence[tuple[Incoming[AuditRequested], Prepared]]) -> None:
        """Append what has no entry yet. Raises `Fenced` when the lease has passed on since `prepare`."""
        requests = [prepared.request for _, prepared in items]
        epoch = max(prepared.epoch for _, prepared in items)  # a term may have ended and begun between two of them
        try:
            before = await store.lock_log(tx.connection, epoch)
        except store.Fenced:
            self.lease.fenced(epoch)
            raise
        known = await store.known_event_ids(tx.connection, [request.event_id for request in requests])
        after, entries = extend(before, requests, known, tx.now)
        if not entries:
            return
        await store.append(tx.connection, before, after, entries, epoch)
        tx.after_commit(self.appended)
        for entry in entries:
            tx.emit_text(
                topics.AUDIT_LOG,
                entry.record(),
                model=LOG_KEY,
                correlation=entry.request.correlation or entry.request.event_id,
                identity=(str(entry.index),),
                cause=entry.request.event_id,
            )
