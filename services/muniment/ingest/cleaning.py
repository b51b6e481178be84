"""Uploads that nobody completes: abandoned after a while, and what the store keeps of them freed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from muniment.adapters.postgres import RACES, UNAVAILABLE
from muniment.contracts.errors import Misconfigured, Transient
from muniment.contracts.events import Cause
from muniment.contracts.identity import Author, operator_of
from muniment.ingest import announcements
from muniment.ingest.store import Store
from muniment.ingest.transfers import Transfers
from muniment.runtime.delivery.transaction import Transactions

log = structlog.get_logger(__name__)

BATCH: Final = 100
INTERVAL_S: Final = 60.0
_TRIED_AGAIN: Final[tuple[type[Exception], ...]] = (Transient, Misconfigured, *UNAVAILABLE, *RACES)
_CAUSE: Final = "ingest.abandon-uploads"
_SELF: Final = Author(operator_of("ingest"), "service")


@dataclass(frozen=True, slots=True)
class Cleaning:
    """Abandons uploads that began longer than `abandon_after` ago. Any number of processes may do it at once."""

    store: Store
    transactions: Transactions
    transfers: Transfers
    abandon_after: timedelta

    async def run(self) -> None:
        """Clean up for ever, in small batches with a rest between rounds."""
        while True:
            try:
                while await self.clean_batch() >= BATCH:
                    pass
            except _TRIED_AGAIN as error:
                log.warning("uploads not cleaned up; tried again later", error=str(error))
            await asyncio.sleep(INTERVAL_S)

    async def clean_batch(self) -> int:
        """Abandon and free at most `BATCH` each; returns the larger number.

        The state goes first: a crash between the two leaves rows that the next round frees.
        """
        async with self.transactions.begin() as tx:
            expired = await self.store.expired(tx.connection, tx.now - self.abandon_after, BATCH)
            cause = Cause(kind="schedule", id=_CAUSE)
            for publication_id, model in (await self.store.abandon(tx.connection, expired, _CAUSE, tx.now)).items():
                announcements.abandoned(tx, publication_id, model, _SELF, cause)
        leftovers = await self.store.leftover_uploads(BATCH)
        for upload in leftovers:
            await self.transfers.free(upload)
        return max(len(expired), len(leftovers))
