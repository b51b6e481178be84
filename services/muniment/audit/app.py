"""The audit service, wired: what it consumes, what it serves, what runs beside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from muniment.adapters.signing_keys import FileKeys, TextKeys
from muniment.audit.bucket import LogBucket
from muniment.audit.cosigning import Cosigning
from muniment.audit.ending import read_ending
from muniment.audit.evidence.export import Evidence
from muniment.audit.evidence.http import add_evidence
from muniment.audit.evidence.manifests import Manifests
from muniment.audit.handlers import AppendEntries
from muniment.audit.http import router
from muniment.audit.keyring import Keyring
from muniment.audit.lease import WriterLease
from muniment.audit.log_http import add_keys, add_log
from muniment.audit.publish_lag import PublishLag
from muniment.audit.published import PublishedLog
from muniment.audit.publisher import Publisher
from muniment.audit.store import AuditLog
from muniment.audit.thinning import Thinning
from muniment.audit.tile_keeping import TileKeeper
from muniment.audit.witnessing import Witnesses
from muniment.contracts import topics
from muniment.ports.signing import SigningKeys
from muniment.runtime.delivery.handler import Route
from muniment.runtime.service import Built, Deps, Service
from muniment.runtime.settings import Settings


def build(deps: Deps) -> Built:
    """The routing table. The lease takes a connection of the pool for as long as there is something to append."""
    settings = deps.settings.audit
    lease = WriterLease(deps.pool)
    keyring = Keyring(deps.transactions, kept_keys(deps.settings), settings.origin, read_ending(settings.continues))
    retention = timedelta(seconds=settings.retention_s)
    bucket = LogBucket(deps.blobs, deps.clock, settings.bucket, retention)
    publisher = Publisher(deps.pool, bucket, keyring, deps.clock, deps.metrics)
    lag = PublishLag(deps.pool, lambda: publisher.trouble, deps.metrics)
    margin, alarm = settings.extend_below * retention, settings.alarm_below * retention
    tiles = TileKeeper(deps.pool, bucket, margin, alarm, deps.metrics)
    thinning = Thinning(
        deps.pool, deps.clock, settings.checkpoints_kept, timedelta(days=settings.checkpoints_hourly_days)
    )
    routes = router(AuditLog(deps.pool))
    published = PublishedLog(deps.pool)
    add_log(routes, published)
    manifests = Manifests(deps.blobs, deps.settings.s3.bucket)
    add_evidence(routes, Evidence(deps.pool, published, keyring, manifests))
    add_keys(routes, keyring, deps.clock)
    return Built(
        routes=(Route(topics.AUDIT_REQUESTED, AppendEntries(lease, publisher.wake)),),
        router=routes,
        tasks=(
            lease.keep,
            publisher.run,
            lag.run,
            tiles.run,
            thinning.run,
            *_witnessing(deps, published, publisher),
        ),
        notes={"audit-published": lag.check, "audit-locks": tiles.check},
    )


def _witnessing(deps: Deps, published: PublishedLog, publisher: Publisher) -> tuple[Callable[[], Awaitable[None]], ...]:
    """The loop that asks witnesses, where settings name any."""
    wanted = deps.settings.audit.witnessing
    if not wanted.witnesses:
        return ()
    return (Cosigning(deps.pool, published, publisher, Witnesses(wanted), wanted.every_s, deps.metrics).run,)


def kept_keys(settings: Settings) -> SigningKeys:
    """Where the log's private keys are: in the setting, else in `secrets/audit.key` of the data folder.

    Raises `Misconfigured` (`signing_key_invalid`).
    """
    if (given := settings.audit.signing_keys) is not None:
        return TextKeys(given.get_secret_value(), "MUNIMENT_AUDIT__SIGNING_KEYS")
    return FileKeys(settings.data_dir / "secrets" / "audit.key")


# One entry at a time would cost a version three transactions more, while its own events want the processor.
service = Service(name=topics.AUDIT, package="muniment.audit", build=build, linger_s=0.08)
