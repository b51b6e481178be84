"""The routing table of the registry."""

from __future__ import annotations

from muniment.contracts import topics
from muniment.registry.candidates import Candidates
from muniment.registry.handlers import CommitValidated
from muniment.registry.history import History
from muniment.registry.http import build_router
from muniment.registry.keeping import Keeper
from muniment.registry.reads import Reads
from muniment.registry.sealing import Sealer
from muniment.registry.tracks import Tracks
from muniment.runtime.delivery.handler import Route
from muniment.runtime.service import Built, Deps, Service


def build(deps: Deps) -> Built:
    """Wire handlers, HTTP and the keeper."""
    settings = deps.settings
    sealer = Sealer(deps.blobs, deps.clock, settings.s3.bucket)
    committing = CommitValidated(sealer, Tracks(deps.pool, settings.registry), deps.transactions)
    reads = Reads(deps.pool, deps.blobs, deps.clock, settings.registry.download_expiry_s)
    keeper = Keeper(deps.pool, deps.blobs, deps.clock, settings.registry.retention_margin_s)
    return Built(
        routes=(Route(topics.MODEL_VALIDATED, committing),),
        router=build_router(reads, Candidates(deps.transactions, committing), History.of(deps.pool, deps.blobs)),
        tasks=(keeper.run,),
    )


service = Service(name=topics.REGISTRY, package="muniment.registry", build=build)
