"""The validator's jobs in Postgres; SQL in `sql/queries.sql`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from muniment.contracts import strict_json
from muniment.contracts.events import Cause, ModelTrained
from muniment.runtime.delivery.incoming import Incoming
from muniment.runtime.delivery.transaction import Tx
from muniment.runtime.sql import load_queries

SQL = load_queries("muniment.checksum_validator")


@dataclass(frozen=True, slots=True)
class Job:
    """A leased job. `epoch` proves the lease; `cause` is the event that asked for it."""

    trained: ModelTrained
    cause: Cause
    epoch: int
    attempts: int

    @property
    def key(self) -> UUID:
        """Its primary key."""
        return UUID(self.trained.publication_id)

    @property
    def size(self) -> int:
        """Bytes to read, as declared."""
        return sum(file.size for file in self.trained.files)


async def add_jobs(tx: Tx, items: Sequence[Incoming[ModelTrained]]) -> None:
    """Write the jobs of a batch of events."""
    await tx.connection.execute(
        SQL["add_jobs"],
        [UUID(item.data.publication_id) for item in items],
        [item.data.model for item in items],
        [item.event.data for item in items],
        [item.cause.model_dump_json(exclude_none=True) for item in items],
        [sum(file.size for file in item.data.files) for item in items],
    )


def job_of(row: Any) -> Job:
    """The job in a leased row. Its event was checked before it was written."""
    trained = ModelTrained.model_validate(strict_json.loads(row["trained"], max_bytes=2**24))
    return Job(trained, Cause.model_validate(json.loads(row["cause"])), row["epoch"], row["attempts"])
