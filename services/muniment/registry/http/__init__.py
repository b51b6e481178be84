"""The registry's HTTP API, a file for each noun."""

from __future__ import annotations

from fastapi import APIRouter

from muniment.registry.candidates import Candidates
from muniment.registry.http.candidates import add_candidates
from muniment.registry.http.measurements import add_measurements
from muniment.registry.http.models import add_models
from muniment.registry.http.versions import add_versions
from muniment.registry.measured import Measurements
from muniment.registry.measuring import Measuring
from muniment.registry.reads import Reads


def build_router(reads: Reads, candidates: Candidates, measuring: Measuring, measurements: Measurements) -> APIRouter:
    """The routes, below `/api/v1`."""
    router = APIRouter(tags=["registry"])
    add_models(router, reads)
    add_candidates(router, reads, candidates)
    add_measurements(router, measuring, measurements)
    add_versions(router, reads)
    return router
