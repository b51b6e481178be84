"""The composition root: services, broker, relays, HTTP, in one process. What is opened last is closed first."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg
import structlog
from fastapi import APIRouter, Depends
from faststream.kafka import KafkaBroker
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512
from prometheus_client import CollectorRegistry

from muniment.adapters.kafka import KafkaConnection, KafkaPublisher, TopicLayout, ensure_topics, topic_drift
from muniment.adapters.postgres import connect, migrate, open_pool
from muniment.audit import topic_drift as drift_ledger
from muniment.contracts import topics
from muniment.contracts.topics import Topic
from muniment.ports.blobs import BlobStore
from muniment.ports.clock import SystemClock
from muniment.runtime.delivery.http import dead_letter_router
from muniment.runtime.delivery.processor import Processor
from muniment.runtime.delivery.refused_requests import RefusalSums, audited_refusals
from muniment.runtime.delivery.relay import Relay
from muniment.runtime.delivery.subscriber import Subscriber
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.http.routes import Routes
from muniment.runtime.identity.first_admin import ensure_first_admin
from muniment.runtime.identity.http import router as identity_router
from muniment.runtime.identity.store import Identity
from muniment.runtime.metrics import Metrics
from muniment.runtime.service import FOLLOWING_LINGER_BUSY_S, FOLLOWING_LINGER_S, Built, Deps, Service, following_group
from muniment.runtime.settings import DeliverySettings, Settings
from muniment.server.checks import check_settings, ready_checks
from muniment.server.endpoints import CREDENTIALS, Endpoints
from muniment.server.loops import Loops
from muniment.server.store import open_store
from muniment.server.topic_watch import TopicWatch
from muniment.server.web import serving
from muniment.server.wiring import schemas

log = structlog.get_logger(__name__)

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Running:
    """A running stack. `failed` ends with the error of the first loop that stopped by itself."""

    url: str
    failed: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Started:
    """A service with what surrounds it, connected and not yet running."""

    service: Service
    built: Built
    relay: Relay
    processors: tuple[Processor, ...]
    """One for each of its consumer groups."""
    transactions: Transactions


@asynccontextmanager
async def running_stack(
    settings: Settings, endpoints: Endpoints, services: Sequence[Service], progress: Progress
) -> AsyncIterator[Running]:
    """Run the services until the end of the block.

    Order of start: schema, topics, store, identities, relays, subscribers, HTTP. A service takes
    no event and answers no request before everything it needs has answered. Stopping goes the other way: requests and
    events first, then the work they left, then connections.
    """
    check_settings(settings)
    services = tuple(services)
    layout = TopicLayout(settings.kafka.topic_prefix, settings.kafka.partitions, settings.kafka.replication)
    progress("migrating the database")
    await migrate(endpoints.postgres_dsn, schemas(services))
    progress("checking the topics")
    wanted = (*topics.ALL, *(topic for service in services for topic in topics.owned_by(service.name)))
    await ensure_topics(endpoints.kafka, wanted, layout)
    async with AsyncExitStack() as stack:
        metrics = Metrics(CollectorRegistry())
        progress("opening the store")
        blobs = await stack.enter_async_context(open_store(settings, endpoints, metrics.steps("store")))
        identity_pool = await open_pool(endpoints.postgres_dsn, "identity", max_size=4)
        stack.push_async_callback(identity_pool.close)
        identity = Identity(identity_pool, SystemClock())
        stack.push_async_callback(identity.settle)
        started = [await build(service, settings, endpoints, blobs, identity, metrics, stack) for service in services]
        loops = Loops()
        stack.push_async_callback(loops.stop)
        for one in started:
            loops.add(f"{one.service.name}: relay", one.relay.run)
            loops.add(f"{one.service.name}: refusals", RefusalSums(one.transactions).run)
            for task in one.built.tasks:
                loops.add(f"{one.service.name}: {getattr(task, '__qualname__', 'task')}", task)
        loops.add("topic watch", _topic_watch(settings, endpoints, wanted, layout, started, metrics).run)
        progress("joining the consumer groups")
        broker = _broker(endpoints.kafka)
        subscribers: list[Subscriber] = []
        for one in started:
            for processor in one.processors:
                batch, instance = settings.delivery.batch_records, settings.kafka.instance
                subscribers.append(Subscriber(processor, SystemClock(), batch, instance))
                subscribers[-1].register(broker)
        stack.push_async_callback(_stop_broker, broker, subscribers)
        await broker.start()
        listener = _listen(settings.http.host, settings.http.port)
        checks = ready_checks(endpoints, identity_pool, blobs, settings.s3.bucket)
        notes = {name: note for one in started for name, note in one.built.notes.items()}
        routers = routers_of(started, identity)
        loops.watch(await stack.enter_async_context(serving(listener, routers, identity, checks, notes, metrics)))
        host, port = listener.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        for one in started:
            if one.service.name == topics.REGISTRY:
                await ensure_first_admin(one.transactions, settings.data_dir / CREDENTIALS, url)
        yield Running(url, loops.failed)


async def build(
    service: Service,
    settings: Settings,
    endpoints: Endpoints,
    blobs: BlobStore,
    identity: Identity,
    metrics: Metrics,
    stack: AsyncExitStack,
) -> Started:
    """Connect one service; the stack closes what it opens."""
    dsn = endpoints.postgres_dsn
    pool = await open_pool(dsn, service.schema, max_size=settings.postgres.pool_max, session=service.session)
    stack.push_async_callback(_close_pool, pool)
    clock = SystemClock()
    observe = metrics.steps(service.name)
    # Each its own: a producer has one request under way, and one service's would wait for another's.
    publisher = KafkaPublisher(endpoints.kafka)
    stack.push_async_callback(publisher.close)
    keep_days = settings.delivery.keep_days
    relay = Relay(service.name, lambda: connect(dsn, service.schema), publisher, clock, keep_days, observe)
    transactions = Transactions(pool, service.name, settings.kafka.topic_prefix, clock, relay.wake, observe)
    built = service.build(Deps(settings, pool, transactions, blobs, identity, clock, metrics, endpoints.kafka))
    group = f"{settings.kafka.group_prefix}{service.name}"
    processors = _processors(service, group, built, transactions, settings.delivery)
    return Started(service, built, relay, processors, transactions)


def _processors(
    service: Service, group: str, built: Built, transactions: Transactions, delivery: DeliverySettings
) -> tuple[Processor, ...]:
    """One for each consumer group of the service."""
    if not built.routes:
        return ()
    followed = built.following
    own = Processor(
        service.name,
        group,
        built.routes,
        transactions,
        delivery,
        service.linger_s,
        retried=followed,
        at_once=built.at_once,
    )
    if not followed:
        return (own,)
    beside = Processor(
        service.name,
        following_group(group),
        followed,
        transactions,
        delivery,
        linger_s=FOLLOWING_LINGER_S,
        linger_busy_s=FOLLOWING_LINGER_BUSY_S,
        reads_retries=False,
    )
    return own, beside


def _topic_watch(
    settings: Settings,
    endpoints: Endpoints,
    wanted: Sequence[Topic],
    layout: TopicLayout,
    started: Sequence[Started],
    metrics: Metrics,
) -> TopicWatch:
    writer = next((one.transactions for one in started if one.service.name == topics.AUDIT), None)
    return TopicWatch(
        [topic.wire_name(layout.prefix) for topic in wanted],
        lambda: topic_drift(endpoints.kafka, wanted, layout),
        None if writer is None else partial(drift_ledger.tell, writer),
        metrics,
        settings.kafka.topics_check_s,
    )


def routers_of(started: Sequence[Started], identity: Identity) -> list[APIRouter]:
    """Each service's routes, with what the process adds to them: refused attempts are audited by all."""
    routers: list[APIRouter] = []
    for one in started:
        routes = Routes(dependencies=[Depends(audited_refusals(one.transactions))])
        if one.built.router is not None:
            routes.include_router(one.built.router)
        routes.include_router(dead_letter_router(one.transactions))
        if one.service.name == topics.REGISTRY:  # the process that hosts the registry manages identities
            routes.include_router(identity_router(identity, one.transactions))
        routers.append(routes)
    return routers


def _broker(connection: KafkaConnection) -> KafkaBroker:
    return KafkaBroker(
        connection.bootstrap,
        client_id="muniment",
        allow_auto_create_topics=False,  # topics are declared and made by us; a typing error must not make one
        consumer_only=True,
        graceful_timeout=15.0,
        security=_security(connection),
        logger=None,
        apply_types=False,  # nothing to inject, and each batch would take a turn in a thread for it
    )


def _security(connection: KafkaConnection) -> BaseSecurity | None:
    if connection.security_protocol == "PLAINTEXT":
        return None
    context = connection.ssl_context()
    if connection.sasl_mechanism is None:
        return BaseSecurity(ssl_context=context, use_ssl=True)
    kinds = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}
    return kinds[connection.sasl_mechanism](
        username=connection.username or "", password=connection.password or "", ssl_context=context, use_ssl=True
    )


async def _stop_broker(broker: KafkaBroker, subscribers: Sequence[Subscriber]) -> None:
    # The client waits for ever for a broker that is gone; records in flight come again.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            await asyncio.gather(*(one.settle() for one in subscribers))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(18):
            await broker.stop()


async def _close_pool(pool: asyncpg.Pool[Any]) -> None:
    try:
        async with asyncio.timeout(5):
            await pool.close()
    except TimeoutError:
        pool.terminate()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=512)
