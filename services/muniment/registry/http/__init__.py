"""The registry's HTTP API, a file for each noun."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter

from muniment.registry.branches import Branches
from muniment.registry.candidates import Candidates
from muniment.registry.contract import Contracts
from muniment.registry.describing import Describing
from muniment.registry.http.branches import add_branches, add_pointers
from muniment.registry.http.candidates import add_candidates
from muniment.registry.http.models import add_models
from muniment.registry.http.promotion import add_contract, add_promotion
from muniment.registry.http.versions import add_versions
from muniment.registry.names import Names
from muniment.registry.pointers import Pointers
from muniment.registry.promotion import Promotions
from muniment.registry.reads import Reads
from muniment.registry.reverting import Reverting


@dataclass(frozen=True, slots=True)
class Registry:
    """What the routes stand on."""

    reads: Reads
    names: Names
    candidates: Candidates
    branches: Branches
    pointers: Pointers
    contracts: Contracts
    promotions: Promotions
    reverting: Reverting
    describing: Describing


def build_router(registry: Registry) -> APIRouter:
    """The routes, below `/api/v1`."""
    router = APIRouter(tags=["registry"])
    add_models(router, registry.reads)
    add_candidates(router, registry.reads, registry.candidates)
    add_branches(router, registry.names, registry.branches)
    add_pointers(router, registry.names, registry.pointers)
    add_contract(router, registry.names, registry.contracts)
    add_promotion(router, registry.reads, registry.promotions, registry.reverting, registry.describing)
    add_versions(router, registry.reads)
    return router
