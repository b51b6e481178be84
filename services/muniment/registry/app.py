"""The routing table of the registry."""

from __future__ import annotations

from muniment.contracts import topics
from muniment.registry.candidates import Candidates
from muniment.registry.changing import Changes
from muniment.registry.handlers import CommitValidated
from muniment.registry.http import build_router
from muniment.registry.keeping import Keeper
from muniment.registry.reads import Reads
from muniment.registry.release_bytes import ReleaseBytes
from muniment.registry.release_reads import ReleaseReads
from muniment.registry.releases import Releases
from muniment.registry.sealing import Sealer
from muniment.registry.track_changes import TrackChanges
from muniment.registry.tracks import Tracks
from muniment.runtime.delivery.handler import Route
from muniment.runtime.service import Built, Deps, Service


def build(deps: Deps) -> Built:
    """Wire handlers, HTTP and the keeper."""
    settings = deps.settings
    sealer = Sealer(deps.blobs, deps.clock, settings.s3.bucket)
    tracks = Tracks(deps.pool, settings.registry)
    committing = CommitValidated(sealer, tracks, deps.transactions)
    reads = Reads(deps.pool, deps.blobs, deps.clock, settings.registry.download_expiry_s)
    releases = Releases(Changes(deps.transactions), sealer, tracks, ReleaseBytes(deps.blobs))
    track_changes = TrackChanges(deps.transactions, deps.blobs, tracks, settings.s3.bucket)
    keeper = Keeper(deps.pool, deps.blobs, deps.clock, settings.registry.retention_margin_s)
    return Built(
        routes=(Route(topics.MODEL_VALIDATED, committing),),
        router=build_router(
            reads, Candidates(deps.transactions, committing), ReleaseReads(deps.pool), releases, track_changes
        ),
        tasks=(keeper.run,),
    )


service = Service(name=topics.REGISTRY, package="muniment.registry", build=build)
