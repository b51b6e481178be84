"""What the delivery worker writes while attempts run: renewed leases, and outcomes, many of each in one statement."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from muniment.adapters.postgres import RACES, UNAVAILABLE
from muniment.contracts.events import Cause, Change
from muniment.contracts.model import rfc3339
from muniment.notifier import ledger
from muniment.notifier.ledger import HealthChange, Job, Ledger, Outcome

if TYPE_CHECKING:
    from muniment.runtime.delivery.transaction import Transactions, Tx

log = structlog.get_logger(__name__)

OPERATOR: Final = "muniment|notifier"


class Leases:
    """Renews the leases of running attempts, all with one statement; one that was lost meanwhile stays lost."""

    def __init__(self, deliveries: Ledger, lease_s: float) -> None:
        self._ledger = deliveries
        self._lease_s = lease_s
        self._held: dict[UUID, int] = {}

    def hold(self, job: Job) -> None:
        """From now on."""
        self._held[job.message.delivery_id] = job.epoch

    def drop(self, job: Job) -> None:
        """No more, unless the delivery is held anew."""
        if self._held.get(job.message.delivery_id) == job.epoch:
            del self._held[job.message.delivery_id]

    async def run(self) -> None:
        """Renew for ever, three times within a lease."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            if self._held:
                try:
                    await self._ledger.renew(self._held, self._lease_s)
                except (*UNAVAILABLE, *RACES) as error:
                    log.warning("leases were not renewed", error=repr(error)[:300])


_REST_S: Final = 0.02
"""After a statement, unless enough has come: nobody waits for an outcome but a lane whose slots are all taken."""
_ENOUGH: Final = 8


class Recorder:
    """Records outcomes, as many together as came while the last ones were being recorded, and a moment after."""

    def __init__(self, transactions: Transactions, failing_after_s: float) -> None:
        self._transactions = transactions
        self._failing_after_s = failing_after_s
        self._queue: asyncio.Queue[tuple[Outcome, asyncio.Future[None]]] = asyncio.Queue()
        self._enough = asyncio.Event()

    async def record(self, outcome: Outcome) -> None:
        """Return when the outcome is durable. Raises what the database raised."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((outcome, done))  # bounded: each of the workers has one at most
        if self._queue.qsize() >= _ENOUGH:
            self._enough.set()
        await done

    async def run(self) -> None:
        """Record for ever."""
        while True:
            batch = [await self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get_nowait())
            self._enough.clear()
            await self._settle(batch)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REST_S):
                    await self._enough.wait()

    async def _write(self, outcomes: list[Outcome]) -> None:
        if all(map(ledger.is_plain, outcomes)):
            await ledger.settle_plain(self._transactions.pool, outcomes)
            return
        async with self._transactions.begin() as tx:
            for change in await ledger.settle(tx.connection, outcomes, self._failing_after_s):
                _tell(tx, change)

    async def _settle(self, batch: list[tuple[Outcome, asyncio.Future[None]]]) -> None:
        try:
            await self._write([outcome for outcome, _ in batch])
        except Exception as error:  # noqa: BLE001  # reason: handed to those who wait
            if len(batch) > 1 and not isinstance(error, UNAVAILABLE):
                for one in batch:  # what the database does not take is one of them, not all
                    await self._settle([one])
                return
            failure: Exception | None = error
        else:
            failure = None
        for _, done in batch:
            if done.done():
                continue
            if failure is None:
                done.set_result(None)
            else:
                done.set_exception(failure)


def _tell(tx: Tx, change: HealthChange) -> None:
    """People hear of an endpoint that fails for long, and of its recovery, by the audit log; operators by the log."""
    what, before, now = ("failing", "well", "failing") if change.failing else ("recovered", "failing", "well")
    tx.audit(
        action=f"subscription.{what}",
        resource=f"subscriptions/{change.subscription_id}",
        operator=OPERATOR,
        authenticated_by="service",
        cause=Cause(kind="schedule", id=f"{change.subscription_id}.{rfc3339(tx.now)}"),
        changes=[Change(path="health", before=before, after=now)],
        reason=change.trouble,
    )
    tell = log.warning if change.failing else log.info
    tell(f"subscription {what}", subscription=str(change.subscription_id), reason=change.trouble)
