"""Run events from elsewhere: what they have read and written becomes edges."""

from __future__ import annotations

from dataclasses import dataclass

from muniment.contracts.events import Cause, Change
from muniment.contracts.identity import Principal
from muniment.contracts.model import rfc3339
from muniment.registry.lineage.openlineage import RunEvent
from muniment.registry.long_values import whole
from muniment.registry.store import LINEAGE
from muniment.registry.told_rows import edge_cells, told
from muniment.runtime.delivery.transaction import Transactions


@dataclass(frozen=True, slots=True)
class Receiving:
    """Takes events."""

    transactions: Transactions

    async def take(self, event: RunEvent, by: Principal, cause: Cause) -> int:
        """Keep the event's edges; returns how many were new. A repetition adds none and leaves no entry."""
        ends = [("input", one.lineage_name, one.version) for one in event.inputs]
        ends += [("output", one.lineage_name, one.version) for one in event.outputs]
        ways, names, digests = map(list, zip(*ends, strict=True)) if ends else ([], [], [])
        job = f"{event.job.namespace}/{event.job.name}"
        async with self.transactions.begin() as tx:
            rows = await tx.connection.fetch(
                LINEAGE["insert_external"],
                event.run.run_id,
                job,
                ways,
                names,
                digests,
                event.event_time,
                by.operator,
                f"{cause.kind} {cause.id}",
            )
            if rows:
                edges = sorted((row["way"], row["name"], row["digest"]) for row in rows)
                tx.audit(
                    action="lineage.received",
                    resource=f"lineage/runs/{event.run.run_id}",
                    operator=by.operator,
                    authenticated_by=by.authenticated_by,
                    cause=cause,
                    changes=[
                        *whole({"job": job}),
                        Change(path="occurred_at", after=rfc3339(event.event_time)),
                        *told("edges", (edge_cells(*edge) for edge in edges)),
                    ],
                )
            return len(rows)
