"""The workers: lease jobs, read their files, record the verdicts.

Leases make this safe with any number of processes: a worker that is killed stops renewing, its job falls due again and
another reads the files from their beginning; one that was only paused finds that its epoch is no longer the newest and
its verdict is not recorded. Verdicts that are ready together share one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import structlog

from muniment.adapters.postgres import RACES, UNAVAILABLE
from muniment.checksum_validator.reading import FileReader
from muniment.checksum_validator.store import SQL, Job, job_of
from muniment.checksum_validator.verdicts import Verdict, announce, announce_progress
from muniment.contracts.errors import Misconfigured, MunimentError, Rejected, Transient
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.settings import ValidatorSettings
from muniment.runtime.stop_point import reached

log = structlog.get_logger(__name__)

_IDLE_S: Final = 5.0
_PROGRESS_S: Final = 1.0
_KEEP_DAYS: Final = 31
_PRUNE_EVERY_S: Final = 600.0
_PRUNE_ROWS: Final = 1_000


@dataclass(slots=True)
class Workers:
    """The workers of one process."""

    transactions: Transactions
    reader: FileReader
    settings: ValidatorSettings
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _leased: dict[UUID, Job] = field(default_factory=dict)
    _verdicts: asyncio.Queue[tuple[Job, Verdict]] = field(default_factory=asyncio.Queue)

    def wake(self) -> None:
        """There may be a job."""
        self._woken.set()

    async def run(self) -> None:
        """Lease and work, for ever."""
        recorder = asyncio.create_task(self._record())
        try:
            while True:
                try:
                    await self._lease_some()
                except (*UNAVAILABLE, *RACES) as error:
                    log.warning("no jobs leased; the database is away", error=repr(error)[:300])
                    await asyncio.sleep(1.0)
                if recorder.done():
                    recorder.result()
        finally:
            recorder.cancel()
            for task in self._running:
                task.cancel()
            await asyncio.gather(recorder, *self._running, return_exceptions=True)
            await self._give_back()

    async def _give_back(self) -> None:
        """Let other workers have the unfinished jobs at once, not when their leases end."""
        leased = list(self._leased.values())
        try:
            await self.transactions.pool.execute(
                SQL["give_back"], [job.key for job in leased], [job.epoch for job in leased]
            )
        except (*UNAVAILABLE, *RACES) as error:
            log.info("leases not given back; they end by themselves", error=repr(error)[:200])

    async def _lease_some(self) -> None:
        self._woken.clear()
        free = self.settings.workers - len(self._running)
        rows: list[Any] = []
        if free > 0:
            rows = await self.transactions.pool.fetch(SQL["lease"], free, self.settings.lease_s)
        for row in rows:
            job = job_of(row)
            task = asyncio.create_task(self._work(job))
            self._running.add(task)
            self._leased[job.key] = job
            task.add_done_callback(self._finished)
        if len(rows) < free or free <= 0:
            await self._until_woken()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._woken.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("worker failed; its job falls due again", exc_info=error)

    async def _until_woken(self) -> None:
        seconds = _IDLE_S
        if not self._running:
            due = await self.transactions.pool.fetchval(SQL["next_due"])
            if due is not None:
                seconds = min(max(due, 0.01), _IDLE_S)
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _work(self, job: Job) -> None:
        done = 0

        def progress(count: int) -> None:  # called in the reading thread; an int's addition needs no lock here
            nonlocal done
            done += count

        renewing: asyncio.Future[Any] = asyncio.create_task(self._renew(job, lambda: done))
        reading = asyncio.ensure_future(self.reader.read_all(job.trained.files, progress))
        try:
            await asyncio.wait([renewing, reading], return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                return  # the lease is lost: another worker has the job
            files = reading.result()
        except Rejected as error:
            await self._ended(job, error=error)
        except Exception as error:  # noqa: BLE001  # reason: whatever it was, the job gets another try or an end
            await self._put_off(job, error)
        else:
            await self._ended(job, files=files)
        finally:
            for task in (renewing, reading):
                task.cancel()
            await asyncio.gather(renewing, reading, return_exceptions=True)

    async def _ended(self, job: Job, **how: Any) -> None:
        await self._verdicts.put((job, Verdict(job.trained, job.cause, **how)))

    async def _renew(self, job: Job, done: Any) -> None:
        """Keep the lease and tell the progress; ends when the lease is lost."""
        while True:
            await asyncio.sleep(min(_PROGRESS_S, self.settings.lease_s / 3))
            try:
                async with self.transactions.begin() as tx:
                    held = await tx.connection.fetchval(
                        SQL["renew"], job.key, job.epoch, self.settings.lease_s, min(done(), job.size)
                    )
                    if held is None:
                        return
                    announce_progress(tx, job, min(done(), job.size))
            except (*UNAVAILABLE, *RACES) as error:
                log.info("lease not renewed", error=repr(error)[:200])

    async def _put_off(self, job: Job, error: Exception) -> None:
        """Let the job fall due later; a failure that is not transient, or never heals, ends it.

        An operator's mistake (credentials, a policy) is no fact about the files: it waits for its cure.
        """
        passing = isinstance(error, (Transient, Misconfigured, OSError))
        if job.attempts >= self.settings.max_attempts or not passing:
            log.error("validation failed", publication=job.trained.publication_id, exc_info=error)
            code = error.code if isinstance(error, MunimentError) else "validation_failed"
            last = Rejected(code, f"the files could not be validated: {type(error).__name__}: {error}"[:1500])
            await self._ended(job, error=last)
            return
        wait = min(self.settings.retry_base_s * 2 ** min(job.attempts - 1, 10), 300.0)
        log.info("validation put off", publication=job.trained.publication_id, seconds=wait, error=str(error)[:300])
        try:
            await self.transactions.pool.execute(SQL["put_off"], job.key, job.epoch, wait, str(error)[:1000])
            self._leased.pop(job.key, None)
        except (*UNAVAILABLE, *RACES) as failure:
            log.info("job not put off; it falls due when its lease ends", error=repr(failure)[:200])

    async def _record(self) -> None:
        """Record verdicts, all that are ready in one transaction."""
        pruned_at = 0.0
        while True:
            batch = [await self._verdicts.get()]
            while not self._verdicts.empty() and len(batch) < self.settings.workers:
                batch.append(self._verdicts.get_nowait())
            now = asyncio.get_running_loop().time()
            try:
                await self._record_batch(batch)
                if now - pruned_at > _PRUNE_EVERY_S:
                    before = self.transactions.clock.now() - timedelta(days=_KEEP_DAYS)
                    done = await self.transactions.pool.execute(SQL["prune_jobs"], before, _PRUNE_ROWS)
                    if done != f"DELETE {_PRUNE_ROWS}":  # else there may be more, and the next turn goes on
                        pruned_at = now
            except (*UNAVAILABLE, *RACES) as error:
                # Nothing is lost: the leases end and the files are read again.
                log.warning("verdicts not recorded", jobs=len(batch), error=repr(error)[:300])

    async def _record_batch(self, batch: Sequence[tuple[Job, Verdict]]) -> None:
        async with self.transactions.begin() as tx:
            rows = await tx.connection.fetch(
                SQL["finish"],
                [job.key for job, _ in batch],
                [job.epoch for job, _ in batch],
                [verdict.word for _, verdict in batch],
            )
            mine: set[UUID] = {row["publication_id"] for row in rows}
            for job, verdict in batch:
                if job.key in mine:
                    announce(tx, verdict)
            reached("checksum-validator.before-commit")
        for job, _ in batch:
            self._leased.pop(job.key, None)
        reached("checksum-validator.after-commit")
