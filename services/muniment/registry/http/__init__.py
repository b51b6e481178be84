"""The registry's HTTP API, a file for each noun."""

from __future__ import annotations

from fastapi import APIRouter

from muniment.registry.candidates import Candidates
from muniment.registry.http.candidates import add_candidates
from muniment.registry.http.models import add_models
from muniment.registry.http.releases import add_releases, add_tracks
from muniment.registry.http.versions import add_versions
from muniment.registry.reads import Reads
from muniment.registry.release_reads import ReleaseReads
from muniment.registry.releases import Releases
from muniment.registry.track_changes import TrackChanges


def build_router(
    reads: Reads, candidates: Candidates, release_reads: ReleaseReads, releases: Releases, tracks: TrackChanges
) -> APIRouter:
    """The routes, below `/api/v1`."""
    router = APIRouter(tags=["registry"])
    add_models(router, reads)
    add_candidates(router, reads, candidates)
    add_releases(router, release_reads, releases)
    add_tracks(router, tracks)
    add_versions(router, reads)
    return router
