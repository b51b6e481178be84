"""model-trained: read small publications as they come, make a job of every other one and wake the workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from muniment.checksum_validator.reading import FileReader
from muniment.checksum_validator.store import add_jobs
from muniment.checksum_validator.verdicts import Verdict, announce
from muniment.contracts.errors import Rejected
from muniment.contracts.events import ModelTrained
from muniment.runtime.delivery.handler import Handler
from muniment.runtime.delivery.incoming import Incoming
from muniment.runtime.delivery.transaction import Tx

log = structlog.get_logger(__name__)

_SECONDS: Final = 5.0
"""For which a batch waits for one publication; then that becomes a job. Long work does not sit in a handler."""
_FILES: Final = 32


@dataclass(frozen=True, slots=True)
class Validate(Handler[ModelTrained, Verdict | None]):
    """Validates what can be read at once within the event's own transaction; the rest becomes jobs.

    A verdict here costs no lease, no second and third transaction. Whatever goes wrong on the way, the store's trouble
    first of all, makes it a job: retries, patience and the end of patience are the workers' matter alone.
    """

    reader: FileReader
    at_once_bytes: int
    wake_workers: Callable[[], None]

    async def prepare(self, item: Incoming[ModelTrained]) -> Verdict | None:
        """The verdict on a small publication; None for one that is to become a job."""
        files = item.data.files
        if sum(file.size for file in files) > self.at_once_bytes or len(files) > _FILES:
            return None
        try:
            async with asyncio.timeout(_SECONDS):
                return Verdict(item.data, item.cause, await self.reader.read_all(files, lambda _: None))
        except Rejected as error:
            return Verdict(item.data, item.cause, error=error)
        except Exception as error:  # noqa: BLE001  # reason: the job that it becomes gets its own tries and its end
            log.info("not validated at once", publication=item.data.publication_id, error=repr(error)[:300])
            return None

    async def apply(self, tx: Tx, items: Sequence[tuple[Incoming[ModelTrained], Verdict | None]]) -> None:
        """Tell the verdicts and write the jobs."""
        jobs = [item for item, verdict in items if verdict is None]
        for _, verdict in items:
            if verdict is not None:
                announce(tx, verdict)
        if jobs:
            await add_jobs(tx, jobs)
            tx.after_commit(self.wake_workers)
