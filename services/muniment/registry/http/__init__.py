"""The registry's HTTP API, a file for each noun."""

from __future__ import annotations

from fastapi import APIRouter

from muniment.registry.candidates import Candidates
from muniment.registry.history import History
from muniment.registry.http.candidates import add_candidates
from muniment.registry.http.history import add_history
from muniment.registry.http.models import add_models
from muniment.registry.http.versions import add_versions
from muniment.registry.reads import Reads


def build_router(reads: Reads, candidates: Candidates, history: History) -> APIRouter:
    """The routes, below `/api/v1`."""
    router = APIRouter(tags=["registry"])
    add_models(router, reads)
    add_candidates(router, reads, candidates)
    add_history(router, history)
    add_versions(router, reads)
    return router
