"""Ingest's routing table and wiring."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from muniment.contracts import topics
from muniment.ingest import stages
from muniment.ingest.cleaning import Cleaning
from muniment.ingest.files import FileFinder
from muniment.ingest.handlers import (
    AvailableHandler,
    DamagedHandler,
    RejectedHandler,
    RestoredHandler,
    StageHandler,
    TrainingCompletedHandler,
)
from muniment.ingest.http import router, sweep_router
from muniment.ingest.intake import Intake
from muniment.ingest.refusals import Refusals
from muniment.ingest.store import Store
from muniment.ingest.sweeping import Sweeping
from muniment.ingest.transfers import Transfers
from muniment.ingest.uploads import Uploads
from muniment.ingest.waiting import Waiters
from muniment.runtime.delivery.handler import Route
from muniment.runtime.http.routes import Routes
from muniment.runtime.identity.producers import producers_of
from muniment.runtime.service import Built, Deps, Service

REFUSED: Final = "publication.refused"


def routing_table(intake: TrainingCompletedHandler, extra_topics: Iterable[str]) -> tuple[Route, ...]:
    """The way in. `extra_topics` are wire names of more topics with training-completed events."""
    return (
        Route(topics.TRAINING_COMPLETED, intake, refused_as=REFUSED),
        *(Route(topics.TRAINING_COMPLETED, intake, name, refused_as=REFUSED) for name in extra_topics),
    )


def following_table(store: Store, waiters: Waiters) -> tuple[Route, ...]:
    """The later topics, which tell how publications fare and where bytes lie."""
    return (
        Route(topics.VALIDATION_PROGRESSED, StageHandler(store, waiters, stages.of_progress)),
        Route(topics.MODEL_VALIDATED, StageHandler(store, waiters, stages.of_validated)),
        Route(topics.MODEL_REJECTED, RejectedHandler(store, waiters, stages.of_rejected)),
        Route(topics.REGISTRY_CHANGED, StageHandler(store, waiters, stages.of_registry_change)),
        Route(topics.VERSION_AVAILABLE, AvailableHandler(store, waiters, stages.of_available)),
        Route(topics.INTEGRITY_VIOLATED, DamagedHandler(store)),
        Route(topics.INTEGRITY_RESTORED, RestoredHandler(store)),
    )


def build(deps: Deps) -> Built:
    """Ingest, from its dependencies. Raises `Misconfigured` where unsigned events would be taken from afar."""
    settings = deps.settings.ingest
    kafka = deps.settings.kafka
    store = Store(deps.pool)
    waiters = Waiters()
    files = FileFinder(deps.blobs, store, settings.landing_buckets, deps.settings.s3.threads)
    producers = producers_of(deps.settings, deps.identity)
    transfers = Transfers(deps.blobs, files, store, timedelta(seconds=settings.upload_expiry_s))
    uploads = Uploads(store, deps.transactions, files, transfers, settings, deps.settings.s3.bucket)
    cleaning = Cleaning(store, deps.transactions, transfers, timedelta(seconds=settings.abandon_after_s))
    declared = {topic.wire_name(kafka.topic_prefix) for topic in topics.ALL if topic.audience == "intake"}
    extra_topics = sorted(set(settings.topic_accounts) - declared)

    intake = Intake(
        deps.pool,
        max_pipeline=settings.max_pipeline,
        max_in_flight=settings.max_in_flight,
        ended=lambda: waiters.woken,
    )

    grace = timedelta(seconds=settings.sweep_after_s)
    sweeping = Sweeping(store, deps.transactions, deps.blobs, deps.clock, deps.settings.s3.bucket, grace)
    routes = Routes()
    routes.include_router(router(store, uploads, waiters, intake, Refusals(deps.transactions)))
    routes.include_router(sweep_router(sweeping))

    return Built(
        routes=routing_table(TrainingCompletedHandler(producers, files, store), extra_topics),
        following=following_table(store, waiters),
        router=routes,
        tasks=(cleaning.run,),
    )


service = Service(name=topics.INGEST, package="muniment.ingest", build=build)
