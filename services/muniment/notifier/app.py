"""The notifier's routing table and wiring."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import nullcontext
from typing import Final
from uuid import UUID

from muniment.adapters.kafka_guest import GuestPublisher
from muniment.contracts.topics import NOTIFIER
from muniment.notifier.addresses import AddressPolicy, policy_for
from muniment.notifier.at_once import AtOnce
from muniment.notifier.broadcast import Broadcast
from muniment.notifier.channels.all import channels_of
from muniment.notifier.deliver import Deliverer, Observer, Pace
from muniment.notifier.domain import TOPICS
from muniment.notifier.feed import Feed
from muniment.notifier.gather import Gatherer
from muniment.notifier.handlers import Announce, Matcher
from muniment.notifier.http import router
from muniment.notifier.ledger import Ledger
from muniment.notifier.outbound import Outbound
from muniment.notifier.prune import Pruner
from muniment.notifier.sealing import Sealer, load_key
from muniment.notifier.stream_http import with_stream
from muniment.notifier.subscriptions import TESTS_AT_ONCE, Subscriptions
from muniment.runtime.delivery.handler import Route
from muniment.runtime.metrics import Metrics
from muniment.runtime.service import Built, Deps, Service
from muniment.runtime.settings import Settings


def build(deps: Deps) -> Built:
    """The service from its dependencies."""
    settings = deps.settings.notifier
    outbound = Outbound(
        policy_of(deps.settings),
        connections=settings.workers + TESTS_AT_ONCE,
    )
    sealer = Sealer(load_key(settings.secret_key, deps.settings.data_dir))
    guest = None if deps.kafka is None else GuestPublisher(deps.kafka)
    channels = channels_of(deps.settings, outbound, sealer, guest)
    feed = Feed(deps.pool)
    deliverer = Deliverer(
        Ledger(deps.pool),
        channels,
        deps.transactions,
        deps.clock,
        Pace(settings.workers, settings.timeout_s, settings.retry_scale),
        observe=_Observed(deps.metrics),
    )
    matcher = Matcher()

    waiters = Waiters(deliverer, feed)
    wake = waiters.wake

    async def deliver() -> None:
        async with outbound, guest or nullcontext():
            await deliverer.run()

    def count_streams(count: int) -> None:
        deps.metrics.event_streams.set(count)

    streams = Broadcast(deps.pool, feed, settings.max_streams, count=count_streams)
    subscriptions = Subscriptions(deps.transactions, channels, sealer, deps.clock, wake, settings.timeout_s)
    return Built(
        router=with_stream(router(subscriptions, feed), streams, feed),
        routes=tuple(Route(topic, Announce(topic, matcher, wake)) for topic in TOPICS),
        at_once=AtOnce(deps.pool, matcher, waiters, deps.clock),
        tasks=(
            deliver,
            Gatherer(deps.transactions, wake).run,
            Pruner(deps.pool, deps.clock, settings.feed_days).run,
        ),
    )


class Waiters:
    """Those who wait in this process: the worker, and the streams of the feed."""

    def __init__(self, deliverer: Deliverer, feed: Feed) -> None:
        self.lease_s = deliverer.lease_s
        self.room, self.take = deliverer.room, deliverer.take
        self._wakes: tuple[Callable[[Collection[UUID]], None], Callable[[], None]] = deliverer.wake, feed.wake

    def wake(self, subscriptions: Collection[UUID]) -> None:
        """These have something due, and the feed has something new."""
        deliverer, feed = self._wakes
        deliverer(subscriptions)
        feed()


class _Observed(Observer):
    """The worker in the process's metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def attempted(self, channel: str, outcome: str) -> None:
        self._metrics.notifications.labels(channel, outcome).inc()

    def failing(self, count: int) -> None:
        self._metrics.subscriptions_failing.set(count)


def policy_of(settings: Settings) -> AddressPolicy:
    """Which addresses may be called under these settings."""
    modes = {settings.kafka.mode, settings.postgres.mode, settings.s3.mode}
    return policy_for(settings.notifier.allow_private_networks, all_embedded=modes == {"embedded"})


service: Final = Service(
    name=NOTIFIER,
    package="muniment.notifier",
    build=build,
    # Statements find deliveries by index. What was planned while the ledger was small would read all of it for each
    # batch, from the time at which it has grown until Postgres next looks at the table.
    session={"enable_seqscan": "off"},
)
