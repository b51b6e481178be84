"""The ordinary batch in one statement, which is its own transaction: inbox, feed, deliveries and leases.

What a batch needs to know beforehand is who wants what, and that is known from the batch before. So the statement is
made for the subscriptions as they were then, and does nothing if one has changed. What is left to the handlers' way
(`handlers`), a transaction of five round trips: that case, alerts that may be damped, and more deliveries than one
statement should hold.

Deliveries for which the worker has room are leased as they are made and handed to it: nobody looks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID

from muniment.notifier import ledger
from muniment.notifier.digests import alert_key
from muniment.notifier.domain import delivery_id, event_key, facts_of, structured_json
from muniment.notifier.handlers import Matcher, recipients_of
from muniment.notifier.ledger import Job, NewEvent, NewLeasable
from muniment.ports.clock import Clock
from muniment.runtime.delivery.record import Item

if TYPE_CHECKING:
    Pool = ledger.Pool

_MOST: Final = 1_000
"""Deliveries of one statement."""


class Worker(Protocol):
    """Who delivers: the `Deliverer` of this process, and those who watch the feed."""

    lease_s: float

    def room(self) -> Callable[[UUID], bool]:
        """Whether it would start another delivery to a subscription at once; a yes counts as one started."""

    def take(self, jobs: Iterable[Job]) -> None:
        """Start deliveries that were leased for it. After the commit."""

    def wake(self, subscriptions: Collection[UUID]) -> None:
        """There is something new, and these subscriptions have something due. After the commit."""


@dataclass(frozen=True, slots=True)
class AtOnce:
    """Call it with a batch of events, of any topics."""

    pool: Pool
    matcher: Matcher
    worker: Worker
    clock: Clock

    async def __call__(self, items: Sequence[Item]) -> Collection[UUID] | None:
        """Store the events that are new, and their deliveries; returns the inbox keys of those that are not.

        None, and nothing was done: it takes the handlers' way.
        """
        filters, version = self.matcher.known
        if filters is None or len({item.inbox_key for item in items}) < len(items):
            return None
        now = self.clock.now()
        has_room = self.worker.room()
        events: list[NewEvent] = []
        deliveries: list[NewLeasable] = []
        due: dict[UUID, UUID] = {}
        for item in items:
            incoming, topic = item.incoming, item.route.topic
            if alert_key(topic.name, vars(incoming.data)) is not None:
                return None
            facts, key = facts_of(topic, incoming.data), event_key(incoming.event)
            events.append(
                NewEvent(key, item.inbox_key, item.digest, facts.type, facts.model, structured_json(incoming.event))
            )
            for recipient in recipients_of(filters, facts, now):
                if len(deliveries) == _MOST:
                    return None
                until = recipient.timing.gathered_until(now)
                delivery = delivery_id(recipient.id, key)
                if until is None:
                    due[delivery] = recipient.id
                deliveries.append(
                    NewLeasable(delivery, recipient.id, key, until, until is None and has_room(recipient.id))
                )
        announced = await ledger.announce(self.pool, version, events, deliveries, self.worker.lease_s, now)
        if announced is None:
            return None
        self.worker.take(announced.jobs)
        for job in announced.jobs:
            del due[job.message.delivery_id]
        self.worker.wake(set(due.values()))
        return announced.known
