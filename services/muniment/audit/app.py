"""The audit service, wired: what it consumes, what it serves, what runs beside."""

from __future__ import annotations

from muniment.audit.handlers import AppendEntries
from muniment.audit.http import router
from muniment.audit.lease import WriterLease
from muniment.audit.store import AuditLog
from muniment.contracts import topics
from muniment.runtime.delivery.handler import Route
from muniment.runtime.service import Built, Deps, Service


def build(deps: Deps) -> Built:
    """The routing table. The lease takes a connection of the pool for as long as there is something to append."""
    lease = WriterLease(deps.pool)
    return Built(
        routes=(Route(topics.AUDIT_REQUESTED, AppendEntries(lease)),),
        router=router(AuditLog(deps.pool)),
        tasks=(lease.keep,),
    )


# One entry at a time would cost a version three transactions more, while its own events want the processor.
service = Service(name=topics.AUDIT, package="muniment.audit", build=build, linger_s=0.2)
