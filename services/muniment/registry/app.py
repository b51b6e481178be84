"""The routing table of the registry, and its wiring."""

from __future__ import annotations

from datetime import timedelta

from muniment.contracts import topics
from muniment.registry import http
from muniment.registry.attesting import Attesting
from muniment.registry.branches import Branches
from muniment.registry.bytes_check import CommittedBytes
from muniment.registry.candidates import Candidates
from muniment.registry.changing import Changes
from muniment.registry.collecting import Collecting
from muniment.registry.comparing.comparisons import Comparisons
from muniment.registry.contract import Contracts
from muniment.registry.deleting import Deleting
from muniment.registry.deployment_events import REFUSED, KeepReports
from muniment.registry.deployments import Deployments
from muniment.registry.describing import Describing
from muniment.registry.handlers import CommitValidated
from muniment.registry.history import History
from muniment.registry.keeping import Keeper
from muniment.registry.lineage.reading import Lineage
from muniment.registry.lineage.receiving import Receiving
from muniment.registry.measured import Measurements
from muniment.registry.measuring import Measuring
from muniment.registry.names import Names
from muniment.registry.pointers import Pointers
from muniment.registry.promotion import Promotions
from muniment.registry.reads import Reads
from muniment.registry.release_bytes import ReleaseBytes
from muniment.registry.release_reads import ReleaseReads
from muniment.registry.releases import Releases
from muniment.registry.reverting import Reverting
from muniment.registry.scrubbing.forcing import ForcedDownloads
from muniment.registry.scrubbing.wiring import scrubbing
from muniment.registry.sealing import Sealer
from muniment.registry.signature_checks import SignatureChecks
from muniment.registry.signatures import load_signing_key, load_trust
from muniment.registry.sweeping import Sweeping
from muniment.registry.track_changes import TrackChanges
from muniment.registry.tracks import Tracks
from muniment.runtime.delivery.handler import Route
from muniment.runtime.http.routes import Routes
from muniment.runtime.identity.producers import producers_of
from muniment.runtime.service import Built, Deps, Service


def build(deps: Deps) -> Built:
    """Wire handlers, HTTP and the keeper. Raises `Misconfigured` where unsigned reports would be taken from afar."""
    settings = deps.settings.registry
    trust = load_trust(settings.signatures)
    signing_key = load_signing_key(settings.signatures, deps.settings.data_dir)
    sealer = Sealer(deps.blobs, deps.clock, deps.settings.s3.bucket, trust)
    tracks = Tracks(deps.pool, settings)
    reports = KeepReports(producers_of(deps.settings, deps.identity))
    committing = CommitValidated(sealer, tracks, deps.transactions)
    changes = Changes(deps.transactions)
    scrub = scrubbing(deps)
    committed = CommittedBytes(deps.blobs, scrub.damages.found)
    promotions = Promotions(changes, sealer, tracks, committed)
    reads = Reads(deps.pool, deps.blobs, deps.clock, settings.download_expiry_s)
    names = Names(deps.pool)
    collecting = Collecting(deps.transactions, deps.blobs, deps.clock)
    grace = timedelta(seconds=settings.sweep_after_s)
    sweeping = Sweeping(deps.transactions, deps.blobs, deps.clock, deps.settings.s3.bucket, grace)

    router = Routes(tags=["registry"])
    http.add_models(router, reads)
    http.add_candidates(router, reads, Candidates(deps.transactions, committing))
    http.add_branches(router, names, Branches(changes))
    http.add_pointers(router, names, Pointers(changes))
    http.add_contract(router, names, Contracts(changes))
    http.add_promotion(router, reads, promotions, Reverting(changes, promotions), Describing(changes))
    http.add_releases(router, ReleaseReads(deps.pool), Releases(changes, sealer, tracks, ReleaseBytes(committed)))
    http.add_tracks(router, TrackChanges(deps.transactions, deps.blobs, tracks, deps.settings.s3.bucket))
    http.add_measurements(router, Measuring(changes), Measurements(deps.pool))
    http.add_history(router, History.of(deps.pool, deps.blobs))
    http.add_lineage(router, Lineage(deps.pool), Receiving(deps.transactions))
    http.add_deployments(router, Deployments(changes))
    http.add_deleting(router, reads, Deleting(changes), collecting, sweeping)
    http.add_comparing(router, Comparisons(deps.pool, deps.blobs, settings.compare_max_bytes))
    http.add_scrubbing(router, scrub.passes, scrub.replacing)
    http.add_signatures(
        router,
        reads,
        Attesting(deps.pool, deps.blobs, signing_key, settings.signatures.builder_id),
        SignatureChecks(changes, deps.blobs, deps.clock, trust),
    )
    http.add_versions(router, reads, ForcedDownloads(deps.transactions, reads))
    return Built(
        routes=(
            Route(topics.MODEL_VALIDATED, committing),
            Route(topics.DEPLOYMENT_REPORTED, reports, refused_as=REFUSED),
        ),
        router=router,
        tasks=(
            Keeper(deps.pool, deps.blobs, deps.clock, settings.retention_margin_s, scrub.lost).run,
            scrub.scrubber.run,
            scrub.manifests.run,
        ),
    )


service = Service(name=topics.REGISTRY, package="muniment.registry", build=build)
