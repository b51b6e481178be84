"""A micro-batch of records, from bytes to durable effect. The only place that decides what a failure leads to.

1. Decode each record; what is no event for its route becomes a refusal.
2. Let handlers prepare (effects outside the database), concurrently.
3. One transaction: claim the inbox rows, apply the new events, write the outbox rows and dead letters.
4. A batch that fails is taken apart: each event gets its own transaction, its own tries, and its own end, which is
   its effect, a rejection, a retry topic, or a dead letter.

`process` returns when every record of the batch has its end durably recorded, and not before: only then may the caller
commit offsets. While the database is away nothing can be recorded, so it waits; the partitions wait with it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

import structlog

from muniment.adapters.postgres import RACES, UNAVAILABLE
from muniment.contracts.cloudevent import content_event_id
from muniment.contracts.errors import Conflict, Misconfigured, MunimentError, Rejected, Transient
from muniment.contracts.topics import RETRY_DELAYS_S, retry_topic
from muniment.ports.timing import timed
from muniment.runtime.delivery.dead_letters import set_aside
from muniment.runtime.delivery.handler import Route, SimpleHandler
from muniment.runtime.delivery.header_text import pack_headers
from muniment.runtime.delivery.record import Item, Record, Refusal, RetryState, kept_headers, read
from muniment.runtime.delivery.transaction import SQL, OutboxRow, Transactions, Tx
from muniment.runtime.settings import DeliverySettings
from muniment.runtime.stop_point import reached

log = structlog.get_logger(__name__)

_PREPARE_AT_ONCE: Final = 24
_BACKOFF_MAX_S: Final = 5.0
_DELAYS: Final = tuple(RETRY_DELAYS_S.items())

Prepared = tuple[Item, Any]
AtOnce = Callable[[Sequence[Item]], Awaitable[Collection[UUID] | None]]
"""A whole batch in one statement that is its own transaction and claims the inbox rows: one round trip for five.

Returns the inbox keys that were known before, for which it has done nothing more; or None, and it has done nothing at
all: then the batch takes the handlers' way. Each event comes once in a batch. The same holds as for a handler: a crash
before the commit repeats the whole.
"""
Failed = tuple[Item, Exception]

_SEVERAL: Final = 4
"""Records of a batch that tell of much coming: a run by itself gives one or two at a time."""


@dataclass(slots=True)
class Processor:
    """Processes the batches of one consumer group of a service. One batch at a time."""

    service: str
    group: str
    routes: tuple[Route, ...]
    transactions: Transactions
    settings: DeliverySettings
    linger_s: float = 0.0
    """Seconds for which a batch that is not full waits for more records."""
    linger_busy_s: float = 0.0
    """The same after a batch of several, if that is longer: where much comes, few large batches cost less."""
    reads_retries: bool = True
    """Whether the service's retry topics are read here; one of its groups does."""
    retried: tuple[Route, ...] = ()
    """Routes of its other groups, whose records come here only when they are tried again."""
    at_once: AtOnce | None = None
    """Tried first where all records of a batch are events of routes."""
    _by_topic: dict[str, Route] = field(init=False)
    _retry_topics: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        prefix = self.transactions.topic_prefix
        self._by_topic = {_wire_name(route, prefix): route for route in (*self.routes, *self.retried)}
        self._retry_topics = frozenset(retry_topic(self.service, delay).wire_name(prefix) for delay in RETRY_DELAYS_S)

    @property
    def topics(self) -> tuple[str, ...]:
        """The wire names to subscribe to: the routes' topics and, in one group, the service's retry topics."""
        own = [_wire_name(route, self.transactions.topic_prefix) for route in self.routes]
        return (*own, *(sorted(self._retry_topics) if self.reads_retries else ()))

    def linger_after(self, records: int) -> float:
        """Seconds for which a batch waits for more, when the one before had so many records."""
        return max(self.linger_s, self.linger_busy_s) if records >= _SEVERAL else self.linger_s

    def is_retry(self, topic: str) -> bool:
        """Whether records of this topic wait for a time of their own."""
        return topic in self._retry_topics

    async def process(self, records: Sequence[Record]) -> None:
        """Bring every record to its end. Raises only when cancelled, or on a bug in delivery itself."""
        items: list[Item] = []
        refusals: list[Refusal] = []
        for record in records:
            outcome = read(record, self._by_topic, self._retry_topics)
            (items if isinstance(outcome, Item) else refusals).append(outcome)  # type: ignore[arg-type]  # reason: the test above picks the list
        try:
            failed = await self._together(items, refusals)
        except Exception as error:  # noqa: BLE001  # reason: whatever went wrong, each record gets its own try
            if not isinstance(error, (*UNAVAILABLE, *RACES, MunimentError)):
                log.warning("batch taken apart", records=len(records), error=repr(error))
            for refusal in refusals:
                await self._record_refusal(refusal)
            for item in items:
                await self._alone(item, None)
        else:
            for item, known_error in failed:
                await self._alone(item, known_error)

    async def _together(self, items: Sequence[Item], refusals: Sequence[Refusal]) -> list[Failed]:
        """The whole batch in one transaction. Returns the items whose preparation failed."""
        items = await self._without_known(items)
        if self.at_once is not None and items and not refusals and await self._done_at_once(self.at_once, items):
            return []
        with timed(self.transactions.observe, "prepare"):
            prepared, failed = await self._prepare_all(items)
        if not prepared and not refusals:
            return failed
        async with self.transactions.begin() as tx:
            fresh, conflicts = await self._claim(tx, prepared)
            for route in (*self.routes, *self.retried):
                batch = [(item.incoming, result) for item, result in fresh if item.route is route]
                if batch:
                    await route.handler.apply(tx, batch)
            for refusal in (*refusals, *conflicts):
                await set_aside(tx, refusal, group=self.group)
            reached(f"{self.service}.before-commit")
        reached(f"{self.service}.after-commit")
        return failed

    async def _done_at_once(self, at_once: AtOnce, items: Sequence[Item]) -> bool:
        """Whether one statement has done it all; what it found to be known is held against what is known of it."""
        reached(f"{self.service}.before-commit")
        with timed(self.transactions.observe, "at_once"):
            known = await at_once(items)
        if known is None:
            return False
        reached(f"{self.service}.after-commit")
        if others := [item for item in items if item.inbox_key in known]:
            async with self.transactions.begin() as tx:
                for refusal in await self._conflicts(tx, others):
                    await set_aside(tx, refusal, group=self.group)
        return True

    async def _without_known(self, items: Sequence[Item]) -> Sequence[Item]:
        """Leave out duplicates inside the batch, and known ones before they would be prepared again."""
        unique = {_twin(item): item for item in reversed(items)}
        kept = [item for item in items if unique.get(_twin(item)) is item]
        costly = [item for item in kept if not isinstance(item.route.handler, SimpleHandler) and _remembered(item)]
        if not costly:
            return kept
        rows = await self.transactions.pool.fetch(SQL["known_inbox"], [item.inbox_key for item in costly])
        known = {(row["key"], bytes(row["digest"])) for row in rows}
        return [item for item in kept if (item.inbox_key, item.digest) not in known]

    async def _prepare_all(self, items: Sequence[Item]) -> tuple[list[Prepared], list[Failed]]:
        slots = asyncio.Semaphore(_PREPARE_AT_ONCE)

        async def one(item: Item) -> Any:
            if isinstance(item.route.handler, SimpleHandler):
                return None
            async with slots:
                return await item.route.handler.prepare(item.incoming)

        results = await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
        prepared: list[Prepared] = []
        failed: list[Failed] = []
        for item, result in zip(items, results, strict=True):
            if isinstance(result, OSError):  # TimeoutError included: only a transaction may speak for the database
                failed.append((item, Transient("dependency_unavailable", f"a dependency did not answer: {result!r}")))
            elif isinstance(result, Exception):
                failed.append((item, result))
            elif isinstance(result, BaseException):
                raise result
            else:
                prepared.append((item, result))
        return prepared, failed

    async def _claim(self, tx: Tx, prepared: Sequence[Prepared]) -> tuple[list[Prepared], list[Refusal]]:
        """Claim the inbox rows: what is new, and what has a known id with other content."""
        # Sorted, so that two transactions that claim the same keys never wait for each other in a circle.
        ordered = sorted((pair for pair in prepared if _remembered(pair[0])), key=lambda pair: pair[0].inbox_key)
        if not ordered:
            return list(prepared), []
        rows = await tx.connection.fetch(
            SQL["claim_inbox"], [item.inbox_key for item, _ in ordered], [item.digest for item, _ in ordered]
        )
        claimed = {row["key"] for row in rows}
        fresh: list[Prepared] = []
        others: list[Item] = []
        for pair in prepared:
            if not _remembered(pair[0]):
                fresh.append(pair)
            elif pair[0].inbox_key in claimed:
                claimed.discard(pair[0].inbox_key)
                fresh.append(pair)
            else:
                others.append(pair[0])
        return fresh, await self._conflicts(tx, others) if others else []

    async def _conflicts(self, tx: Tx, others: Sequence[Item]) -> list[Refusal]:
        """Those of the known events that came with other content before."""
        rows = await tx.connection.fetch(SQL["known_inbox"], [item.inbox_key for item in others])
        known = {row["key"]: bytes(row["digest"]) for row in rows}
        return [_conflict(item) for item in others if known.get(item.inbox_key) != item.digest]

    async def _alone(self, item: Item, known_error: Exception | None) -> None:
        """One event by itself, until it has an end."""
        tries = 0
        outages = 0
        error = known_error
        while True:
            if error is None:
                try:
                    retry = await self._together([item], [])
                except Exception as caught:  # noqa: BLE001  # reason: classified below
                    error = caught
                else:
                    if not retry:
                        return
                    error = retry[0][1]
            if isinstance(error, UNAVAILABLE):
                outages += 1
                await self._wait(outages, error)
            elif isinstance(error, Rejected):
                await self._record_rejection(item, error)
                return
            elif isinstance(error, (Transient, Misconfigured, *RACES)):  # an operator's mistake waits for its cure
                tries += 1
                if tries >= self.settings.attempts_in_place:
                    await self._retry_later(item, tries, error)
                    return
                await asyncio.sleep(random.uniform(0.5, 1.0) * 0.1 * 2**tries)  # noqa: S311  # reason: jitter, no secret
            else:
                log.error("event failed", event_id=item.incoming.event.id, exc_info=error)
                bug = MunimentError("handler_failed", f"{type(error).__name__}: {error}")
                await self._record_refusal(Refusal(item.record, item.route, bug, item.incoming.attempt))
                return
            error = None

    async def _record_rejection(self, item: Item, error: Rejected) -> None:
        """Let the handler record its rejection; one that it does not want is a dead letter."""

        async def run(tx: Tx) -> None:
            fresh, conflicts = await self._claim(tx, [(item, None)])
            if fresh:
                await item.route.handler.reject(tx, item.incoming, error)
            for refusal in conflicts:
                await set_aside(tx, refusal, group=self.group)

        try:
            await self._until_recorded(run)
        except Rejected as raised:
            await self._record_refusal(Refusal(item.record, item.route, raised, item.incoming.attempt))
        except Exception as raised:  # reason: a bug in reject must not stop the partition
            log.exception("rejection failed", event_id=item.incoming.event.id, exc_info=raised)
            bug = MunimentError("handler_failed", f"{type(raised).__name__}: {raised}")
            await self._record_refusal(Refusal(item.record, item.route, bug, item.incoming.attempt))

    async def _record_refusal(self, refusal: Refusal) -> None:
        log.warning("dead letter", code=refusal.error.code, topic=refusal.record.topic, offset=refusal.record.offset)
        try:
            await self._until_recorded(lambda tx: set_aside(tx, refusal, group=self.group))
        except Exception:  # a record that not even a dead letter can describe must still not stop the partition
            log.exception("dead letter failed; writing it without what the record says of itself")
            bare = replace(refusal.record, key=None, headers=())
            error = MunimentError("dead_letter_failed", "the record could not be described; its bytes are kept")
            plain = Refusal(bare, refusal.route, error, refusal.attempts)
            await self._until_recorded(lambda tx: set_aside(tx, plain, group=self.group))

    async def _retry_later(self, item: Item, tries: int, error: Exception) -> None:
        """Put the record on the next retry topic, or set it aside when it has had its tries."""
        attempts = item.incoming.attempt + tries - 1
        if attempts >= self.settings.max_attempts:
            last = error if isinstance(error, MunimentError) else MunimentError("transient", repr(error))
            await self._record_refusal(Refusal(item.record, item.route, last, attempts))
            return
        level = min((item.incoming.attempt - 1) // self.settings.attempts_in_place, len(_DELAYS) - 1)
        delay, seconds = _DELAYS[level]
        now_ms = int(self.transactions.clock.now().timestamp() * 1000)
        state = RetryState(item.incoming.place, attempts, now_ms + int(seconds * 1000 * self.settings.retry_scale))
        place = item.incoming.place
        row = OutboxRow(
            id=content_event_id("retry", self.group, f"{place.topic}/{place.partition}/{place.offset}", str(attempts)),
            aggregatetype=retry_topic(self.service, delay).wire_name(self.transactions.topic_prefix),
            aggregateid=item.incoming.event.key or "",
            type=item.incoming.event.type,
            payload=item.record.value or b"",
            headers=pack_headers((*kept_headers(item.record), *state.headers())),
        )
        log.info("event retried later", event_id=item.incoming.event.id, delay=delay, error=str(error)[:500])

        async def run(tx: Tx) -> None:
            tx.outbox.append(row)

        await self._until_recorded(run)

    async def _until_recorded(self, run: Any) -> None:
        outages = 0
        while True:
            try:
                async with self.transactions.begin() as tx:
                    await run(tx)
            except (*UNAVAILABLE, *RACES) as error:
                outages += 1
                await self._wait(outages, error)
            else:
                return

    async def _wait(self, outages: int, error: Exception) -> None:
        if outages in (1, 10) or outages % 60 == 0:
            log.warning("the database is away; waiting", tries=outages, error=repr(error)[:300])
        await asyncio.sleep(min(_BACKOFF_MAX_S, 0.1 * 2 ** min(outages, 8)) * random.uniform(0.5, 1.0))  # noqa: S311  # reason: jitter, no secret


def _wire_name(route: Route, prefix: str) -> str:
    return route.wire_name or route.topic.wire_name(prefix)


def _twin(item: Item) -> tuple[Any, ...]:
    """What two records of a batch have in common that are one record twice: what came with it, its signature, too."""
    return item.inbox_key, item.digest, item.record.headers


def _remembered(item: Item) -> bool:
    return not item.route.handler.idempotent


def _conflict(item: Item) -> Refusal:
    return Refusal(
        item.record,
        item.route,
        Conflict(
            "event_id_conflict",
            "an event with this source and id came before with other content; the first one holds",
            actual=f"{item.incoming.event.source} {item.incoming.event.id}",
            hint="give each event an id of its own",
        ),
        item.incoming.attempt,
        item.incoming.event,
    )
