"""model-trained: write a job and wake the workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from muniment.checksum_validator.store import add_jobs
from muniment.contracts.events import ModelTrained
from muniment.runtime.delivery.handler import SimpleHandler
from muniment.runtime.delivery.incoming import Incoming
from muniment.runtime.delivery.transaction import Tx


@dataclass(frozen=True, slots=True)
class AddJobs(SimpleHandler[ModelTrained]):
    """Takes each accepted publication as a job; the event's work is done when the job is durable."""

    wake_workers: Callable[[], None]

    async def apply(self, tx: Tx, items: Sequence[tuple[Incoming[ModelTrained], None]]) -> None:
        """Write the jobs."""
        await add_jobs(tx, [item for item, _ in items])
        tx.after_commit(self.wake_workers)
