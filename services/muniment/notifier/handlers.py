"""The one handler: an outward event becomes a row of the feed and a delivery for each subscription that wants it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from uuid import UUID

from muniment.contracts.model import Payload
from muniment.contracts.topics import Topic
from muniment.notifier import ledger, store
from muniment.notifier.domain import FilterSet, delivery_id, event_key, facts_of, structured_json
from muniment.notifier.ledger import NewDelivery
from muniment.runtime.delivery.handler import SimpleHandler
from muniment.runtime.delivery.incoming import Incoming
from muniment.runtime.delivery.transaction import Tx

Wake = Callable[[Collection[UUID]], None]
"""Called after the commit with the subscriptions that have something new to deliver (maybe none)."""


class Announce(SimpleHandler[Payload]):
    """Takes the events of one topic. Handlers of one service share a `Matcher`."""

    def __init__(self, topic: Topic, matcher: Matcher, wake: Wake) -> None:
        self._topic = topic
        self._matcher = matcher
        self._wake = wake

    async def apply(self, tx: Tx, items: Sequence[tuple[Incoming[Payload], None]]) -> None:
        """Store the events in the order they came, and their deliveries; the commit wakes those who wait for either."""
        filters = await self._matcher.locked(tx)
        events = {
            event_key(item.event): (facts_of(self._topic, item.data), structured_json(item.event)) for item, _ in items
        }
        rows = await tx.connection.fetch(
            store.SQL["insert_events"],
            list(events),
            [facts.type for facts, _ in events.values()],
            [facts.model for facts, _ in events.values()],
            [body for _, body in events.values()],
            tx.now,
        )
        woken: set[UUID] = set()

        def deliveries() -> Iterator[NewDelivery]:  # never all at once: events times subscriptions can be millions
            for row in rows:
                for subscription in filters.matching(events[row["key"]][0]):
                    woken.add(subscription)
                    yield NewDelivery(delivery_id(subscription, row["key"]), subscription, row["seq"])

        await ledger.add(tx.connection, deliveries())
        tx.after_commit(lambda: self._wake(woken))


class Matcher:
    """The compiled filters, read again when a subscription has changed.

    Whoever asks gets the feed's lock with them: until the transaction ends no other batch and no change of a
    subscription can commit, so the filters are those that hold for exactly these events.
    """

    def __init__(self) -> None:
        self._version = -1
        self._filters = FilterSet()

    async def locked(self, tx: Tx) -> FilterSet:
        """The filters in force, and the feed's lock."""
        version: int = await tx.connection.fetchval(store.SQL["lock_feed"])
        if version != self._version:
            self._filters = await store.load_filters(tx.connection)
            self._version = version
        return self._filters
