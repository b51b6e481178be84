"""The one handler: an outward event becomes a row of the feed and a delivery for each subscription that wants it.

Most batches never come here: `at_once` has done them in one statement.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from muniment.contracts.model import Payload
from muniment.contracts.topics import Topic
from muniment.notifier import ledger, store
from muniment.notifier.damping import Damping
from muniment.notifier.digests import alert_key
from muniment.notifier.domain import Facts, FilterSet, delivery_id, event_key, facts_of, structured_json
from muniment.notifier.ledger import NewDelivery
from muniment.notifier.store import Recipient
from muniment.runtime.delivery.handler import SimpleHandler
from muniment.runtime.delivery.incoming import Incoming
from muniment.runtime.delivery.transaction import Tx

Wake = Callable[[Collection[UUID]], None]
"""Called after a commit with the subscriptions that have something new to deliver (maybe none)."""


class Announce(SimpleHandler[Payload]):
    """Takes the events of one topic. Handlers of one service share a `Matcher`."""

    def __init__(self, topic: Topic, matcher: Matcher, wake: Wake) -> None:
        self._topic = topic
        self._matcher = matcher
        self._wake = wake

    async def apply(self, tx: Tx, items: Sequence[tuple[Incoming[Payload], None]]) -> None:
        """Store the events in the order they came, and their deliveries; the commit wakes those who wait for them."""
        events = {
            event_key(item.event): (facts_of(self._topic, item.data), structured_json(item.event)) for item, _ in items
        }
        numbered, filters = await self._matcher.insert(tx, events)
        woken: set[UUID] = set()
        alerts = {event_key(item.event): key for item, _ in items if (key := self._alert_key(item.data))}
        damping = await Damping.of(
            tx.connection,
            (
                (recipient.id, alerts[event])
                for event in (numbered if alerts else ())
                for recipient in filters.matching(events[event][0])
                if recipient.timing.damp_minutes
            ),
        )

        def gathered_until(recipient: Recipient, event: UUID) -> datetime | None:
            until = recipient.timing.gathered_until(tx.now)
            if until is None and event in alerts:
                until = damping.gathered_until(recipient, alerts[event], tx.now)
            return until

        def deliveries() -> Iterator[NewDelivery]:  # never all at once: events times subscriptions can be millions
            for event, seq in numbered.items():
                for recipient in recipients_of(filters, events[event][0], tx.now):
                    until = gathered_until(recipient, event)
                    if until is None:
                        woken.add(recipient.id)
                    yield NewDelivery(delivery_id(recipient.id, event), recipient.id, seq, until)

        await ledger.add(tx.connection, deliveries())
        await damping.save(tx.connection)
        tx.after_commit(lambda: self._wake(woken))

    def _alert_key(self, data: Payload) -> str | None:
        return alert_key(self._topic.name, vars(data))


def recipients_of(filters: FilterSet[Recipient], facts: Facts, now: datetime) -> Iterator[Recipient]:
    """Those who want the event, and whose subscription has not expired."""
    for recipient in filters.matching(facts):
        if recipient.expires_at is None or recipient.expires_at > now:
            yield recipient


class Matcher:
    """The compiled filters, read again when a subscription has changed.

    Whoever inserts events gets the feed's lock with them: until the transaction ends no other batch and no change of a
    subscription can commit, so the filters are those that hold for exactly these events.
    """

    def __init__(self) -> None:
        self._version = -1
        self._filters: FilterSet[Recipient] = FilterSet()

    @property
    def known(self) -> tuple[FilterSet[Recipient] | None, int]:
        """The filters that were in force last (None: none were read yet), and the version of their set."""
        return (self._filters if self._version >= 0 else None), self._version

    async def insert(
        self, tx: Tx, events: Mapping[UUID, tuple[Facts, str]]
    ) -> tuple[dict[UUID, int], FilterSet[Recipient]]:
        """Store events with their bodies; the numbers of those that are new, in order, and the filters in force."""
        rows = await tx.connection.fetch(
            store.SQL["insert_events"],
            list(events),
            [facts.type for facts, _ in events.values()],
            [facts.model for facts, _ in events.values()],
            [body for _, body in events.values()],
            tx.now,
        )
        version: int = rows[0]["subscriptions_version"]
        if version != self._version:
            self._filters = await store.load_filters(tx.connection)
            self._version = version
        return {row["key"]: row["seq"] for row in rows if row["key"] is not None}, self._filters
