"""The delivery worker: leases what is due, sends it, records what came of it.

Fairness comes from lanes, one for each subscription that has something to deliver. Lanes take turns; each holds a part
of the slots at most, and one whose endpoint fails or is slow holds a single one, out of half of them. A backlog lies
in the ledger and is never read ahead: a slow endpoint delays itself alone, whatever its backlog.

Who makes a delivery leases it in the same statement and hands it over, where there is room: nobody looks for it. All
others are looked for: woken by the commit that made them, by a timer, or by the poll.

At least once: a delivery is leased, sent, and only then marked. A lease is short and renewed for as long as its attempt
runs, so what a process leaves behind when it dies goes out again within seconds, under the same id.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from muniment.adapters.postgres import RACES, UNAVAILABLE
from muniment.contracts.events import Cause
from muniment.notifier import store
from muniment.notifier.channels import Channel
from muniment.notifier.exchange import exchange
from muniment.notifier.ledger import Job, Ledger, Outcome
from muniment.notifier.recording import OPERATOR, Leases, Recorder
from muniment.notifier.schedule import Attempt, judge
from muniment.ports.clock import Clock
from muniment.runtime.stop_point import reached

if TYPE_CHECKING:
    from muniment.runtime.delivery.transaction import Transactions

log = structlog.get_logger(__name__)

_OUTAGE_S: Final = 1.0
_PER_LANE: Final = 8


@dataclass(frozen=True, slots=True)
class Pace:
    """How much at once, and how long. Seconds."""

    workers: int
    """Attempts at the same time in this process."""
    timeout_s: float
    """The total deadline of one attempt."""
    retry_scale: float
    lease_s: float = 5.0
    """What a dead process keeps its deliveries from others for; the leases of a living one are renewed long before."""
    poll_s: float = 1.0
    """How often to look for what nobody woke: retries, lapsed leases, events that another process took."""
    stop_s: float = 5.0
    """What running attempts get to end when the process is asked to stop."""
    failing_after_s: float = 60.0
    """For how long a subscription's attempts must fail, with no success between, until people are told."""

    @property
    def per_lane(self) -> int:
        """Slots that one healthy subscription may hold: what is more than an endpoint expects is no use to anybody."""
        return max(1, min(self.workers // 4, _PER_LANE))

    @property
    def per_lease(self) -> int:
        """Deliveries that one statement leases: half of the slots work while the other half is being filled."""
        return max(1, self.workers // 2)

    @property
    def for_degraded(self) -> int:
        """Slots that all degraded subscriptions may hold together."""
        return max(1, self.workers // 2)


@dataclass(slots=True)
class _Lane:
    in_flight: int = 0
    degraded: bool = False
    waiting: bool = True
    """There may be more due in the ledger than is in flight."""


class Observer:
    """What the worker tells of itself; this one tells nobody."""

    def attempted(self, channel: str, outcome: str) -> None:
        """An attempt was made: `delivered`, `pending` (it will be made again) or `dead`."""

    def failing(self, count: int) -> None:
        """So many subscriptions fail for long now."""


class Deliverer:
    """Run `run` as a task, and call `wake` after each commit that made something due."""

    def __init__(
        self,
        deliveries: Ledger,
        channels: Mapping[str, Channel],
        transactions: Transactions,
        clock: Clock,
        pace: Pace,
        jitter: Callable[[], float] = random.random,
        observe: Observer | None = None,
    ) -> None:
        self._ledger = deliveries
        self._channels = channels
        self._transactions = transactions
        self._clock = clock
        self._pace = pace
        self._jitter = jitter
        self._observe = observe or Observer()
        self._recorder = Recorder(transactions, pace.failing_after_s)
        self._leases = Leases(deliveries, pace.lease_s)
        self._lanes: dict[UUID, _Lane] = {}
        self._turns: dict[UUID, None] = {}
        """Lanes that may lease, in the order of their turns."""
        self._timers: list[tuple[float, UUID]] = []
        """Lanes that have something due before the next poll."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        self._degraded_in_flight = 0
        self._poll_at = 0.0
        self._woken = asyncio.Event()
        self._running = False
        self.lease_s = pace.lease_s

    def room(self) -> Callable[[UUID], bool]:
        """Whether this worker would start another delivery to a subscription at once; a yes counts as one started.

        Who makes a delivery then leases it, too (`ledger.announce`), and hands it over with `take` when it is there:
        that saves the look for what is due. No for a lane that waits for its turn, and for one that is degraded.
        """
        free = self._pace.workers - self._in_flight if self._running else 0
        started: dict[UUID, int] = {}

        def has(subscription: UUID) -> bool:
            nonlocal free
            lane = self._lanes.get(subscription)
            held = started.get(subscription, 0) + (lane.in_flight if lane else 0)
            if free <= 0 or held >= self._pace.per_lane or (lane and (lane.waiting or lane.degraded)):
                return False
            free -= 1
            started[subscription] = started.get(subscription, 0) + 1
            return True

        return has

    def take(self, jobs: Iterable[Job]) -> None:
        """Start deliveries that were leased for this worker when they were made. Stopped, it leaves them to others."""
        if not self._running:
            return
        for job in jobs:
            if job.message.subscription_id not in self._lanes:
                self._lanes[job.message.subscription_id] = _Lane(waiting=False)
            self._start(job)

    def wake(self, subscriptions: Collection[UUID]) -> None:
        """These subscriptions have something due. Without a call it is found within `poll_s`."""
        for subscription in subscriptions:
            self._queue(subscription)
        self._woken.set()

    async def run(self) -> None:
        """Deliver for ever. When cancelled, running attempts get a moment to end and be recorded."""
        helpers = [asyncio.create_task(helper.run()) for helper in (self._recorder, self._leases)]
        self._running = True
        try:
            while True:
                self._woken.clear()
                try:
                    await self._poll()
                    leased = await self._lease()
                except (*UNAVAILABLE, *RACES) as error:
                    log.warning("deliveries wait for the database", error=repr(error)[:300])
                    await asyncio.sleep(_OUTAGE_S)
                    continue
                if not leased:
                    await self._rest()
        finally:
            self._running = False
            await self._stop()
            for task in helpers:
                task.cancel()

    async def _poll(self) -> None:
        """Give a turn to lanes that nobody woke."""
        now = time.monotonic()
        if now >= self._poll_at:
            self._poll_at = now + self._pace.poll_s
            lanes = await self._ledger.lanes(self._pace.poll_s * 2)
            self._timers = [(now + lane.due_in_s, lane.subscription_id) for lane in lanes if lane.due_in_s is not None]
            heapq.heapify(self._timers)
            degraded = {lane.subscription_id for lane in lanes if lane.degraded}
            self._observe.failing(sum(lane.failing for lane in lanes))
            for subscription in list(self._lanes):
                self._lanes[subscription].degraded = subscription in degraded
                self._forget(subscription)
            for subscription in degraded:
                self._lane(subscription).degraded = True
        while self._timers and self._timers[0][0] <= time.monotonic():
            self._queue(heapq.heappop(self._timers)[1])

    async def _lease(self) -> bool:
        """Give free slots to lanes whose turn it is. False when there was nothing to give or to take."""
        wanted = self._plan()
        if not wanted:
            return False
        for subscription in wanted:
            self._lanes[subscription].waiting = False  # what is woken from here on is seen again
        try:
            jobs = await self._ledger.lease(wanted, self._pace.lease_s)
        except BaseException:
            for subscription in wanted:
                self._queue(subscription)
            raise
        taken = dict.fromkeys(wanted, 0)
        for job in jobs:
            taken[job.message.subscription_id] += 1
            self._start(job)
        for subscription, count in taken.items():
            if count == wanted[subscription] or (count and self._lane(subscription).degraded):
                self._queue(subscription)
            else:
                self._forget(subscription)
        return True

    def _start(self, job: Job) -> None:
        lane = self._lane(job.message.subscription_id)  # it may have been forgotten meanwhile
        lane.degraded = job.degraded
        lane.in_flight += 1
        self._in_flight += 1
        self._degraded_in_flight += job.degraded
        self._leases.hold(job)
        task = asyncio.create_task(self._deliver(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _plan(self) -> dict[UUID, int]:
        """How many deliveries to lease for whom. Lanes that may lease no more leave the turns."""
        free = min(self._pace.workers - self._in_flight, self._pace.per_lease)
        free_degraded = self._pace.for_degraded - self._degraded_in_flight
        wanted: dict[UUID, int] = {}
        for subscription in list(self._turns):
            if free <= 0:
                break
            lane = self._lanes[subscription]
            limit = 1 if lane.degraded else self._pace.per_lane
            count = min(limit - lane.in_flight, free)
            if count > 0 and lane.degraded:
                if free_degraded <= 0:
                    continue
                free_degraded -= 1
            del self._turns[subscription]
            if count > 0:
                wanted[subscription] = count
                free -= count
        return wanted

    async def _rest(self) -> None:
        until = min(self._poll_at, self._timers[0][0] if self._timers else self._poll_at)
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _deliver(self, job: Job) -> None:
        subscription = job.message.subscription_id
        try:
            if job.quiet_hours and (until := job.quiet_hours.over_at(self._clock.now())):
                await self._ledger.postpone(job, until)
                return
            attempt = await self._attempt(job)
            reached("notifier.answered-before-marked")
            verdict = judge(attempt, tries=job.tries, scale=self._pace.retry_scale, jitter=self._jitter())
            await self._recorder.record(Outcome(job, attempt, verdict))
            self._lanes[subscription].degraded = attempt.trouble is not None
            self._observe.attempted(job.channel, "delivered" if attempt.delivered else verdict.state)
            if verdict.disable:
                await self._disable(subscription, job)
            if verdict.delay_s is not None and (due := time.monotonic() + verdict.delay_s) < self._poll_at:
                heapq.heappush(self._timers, (due, subscription))
        except Exception as error:  # noqa: BLE001  # reason: the lease runs out and the delivery is made again
            log.error("outcome not recorded", delivery=str(job.message.delivery_id), error=repr(error)[:300])  # noqa: TRY400  # reason: a traceback's locals would show the endpoint
        finally:
            self._leases.drop(job)
            lane = self._lanes[subscription]
            lane.in_flight -= 1
            self._in_flight -= 1
            self._degraded_in_flight -= job.degraded
            if lane.waiting:
                self._queue(subscription)
            else:
                self._forget(subscription)
            self._woken.set()

    async def _attempt(self, job: Job) -> Attempt:
        channel = self._channels.get(job.channel)
        if channel is None:
            detail = f"there is no channel {job.channel!r}"
            return Attempt(self._clock.now(), 0, error="channel_unknown", detail=detail)
        return (await exchange(channel, job.message, self._clock, self._pace.timeout_s)).attempt

    async def _disable(self, subscription_id: UUID, job: Job) -> None:
        """The endpoint said 410 Gone: it wants nothing more."""
        async with self._transactions.begin() as tx:
            reason = "the receiver answered 410 Gone"
            disabled = await store.disable(tx.connection, subscription_id, reason, tx.now)
            if disabled is not None:
                tx.audit(
                    action="subscription.disabled",
                    resource=f"subscriptions/{subscription_id}",
                    operator=OPERATOR,
                    authenticated_by="service",
                    cause=Cause(kind="event", id=str(job.message.delivery_id)),
                    reason=reason,
                )

    async def _stop(self) -> None:
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=self._pace.stop_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _lane(self, subscription: UUID) -> _Lane:
        return self._lanes.setdefault(subscription, _Lane())

    def _queue(self, subscription: UUID) -> None:
        """Give the lane a turn, or remember that it wants one when a slot of its own comes free."""
        self._lane(subscription).waiting = True
        self._turns.setdefault(subscription)

    def _forget(self, subscription: UUID) -> None:
        """Drop a lane that has nothing more to say: memory follows what is going on, not what exists."""
        lane = self._lane(subscription)
        if not (lane.in_flight or lane.degraded or subscription in self._turns):
            del self._lanes[subscription]
