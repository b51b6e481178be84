"""The routing table of the registry."""

from __future__ import annotations

from muniment.contracts import topics
from muniment.registry.branches import Branches
from muniment.registry.bytes_check import ByteCheck
from muniment.registry.candidates import Candidates
from muniment.registry.changing import Changes
from muniment.registry.collecting import Collecting
from muniment.registry.contract import Contracts
from muniment.registry.deleting import Deleting
from muniment.registry.deployments import Deployments
from muniment.registry.describing import Describing
from muniment.registry.handlers import CommitValidated
from muniment.registry.http import Registry, build_router
from muniment.registry.keeping import Keeper
from muniment.registry.lineage.reading import Lineage
from muniment.registry.lineage.receiving import Receiving
from muniment.registry.names import Names
from muniment.registry.pointers import Pointers
from muniment.registry.promotion import Promotions
from muniment.registry.reads import Reads
from muniment.registry.reverting import Reverting
from muniment.registry.sealing import Sealer
from muniment.registry.tracks import Tracks
from muniment.runtime.delivery.handler import Route
from muniment.runtime.service import Built, Deps, Service


def build(deps: Deps) -> Built:
    """Wire handlers, HTTP and the keeper."""
    settings = deps.settings
    sealer = Sealer(deps.blobs, deps.clock, settings.s3.bucket)
    tracks = Tracks(deps.pool, settings.registry)
    committing = CommitValidated(sealer, tracks, deps.transactions)
    changes = Changes(deps.transactions)
    promotions = Promotions(changes, sealer, tracks, ByteCheck(deps.pool, deps.blobs))
    reads = Reads(deps.pool, deps.blobs, deps.clock, settings.registry.download_expiry_s)
    keeper = Keeper(deps.pool, deps.blobs, deps.clock, settings.registry.retention_margin_s)
    return Built(
        routes=(Route(topics.MODEL_VALIDATED, committing),),
        router=build_router(
            Registry(
                reads,
                Names(deps.pool),
                Candidates(deps.transactions, committing),
                Branches(changes),
                Pointers(changes),
                Contracts(changes),
                promotions,
                Reverting(changes, promotions),
                Describing(changes),
                Lineage(deps.pool),
                Receiving(deps.transactions),
                Deployments(changes),
                Deleting(changes),
                Collecting(deps.transactions, deps.blobs, deps.clock),
            )
        ),
        tasks=(keeper.run,),
    )


service = Service(name=topics.REGISTRY, package="muniment.registry", build=build)
