"""The registry's HTTP API, a file for each noun."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter

from muniment.registry.branches import Branches
from muniment.registry.candidates import Candidates
from muniment.registry.collecting import Collecting
from muniment.registry.contract import Contracts
from muniment.registry.deleting import Deleting
from muniment.registry.deployments import Deployments
from muniment.registry.describing import Describing
from muniment.registry.http.branches import add_branches, add_pointers
from muniment.registry.http.candidates import add_candidates
from muniment.registry.http.lineage import add_deleting, add_deployments, add_lineage
from muniment.registry.http.models import add_models
from muniment.registry.http.promotion import add_contract, add_promotion
from muniment.registry.http.versions import add_versions
from muniment.registry.lineage.reading import Lineage
from muniment.registry.lineage.receiving import Receiving
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
    lineage: Lineage
    receiving: Receiving
    deployments: Deployments
    deleting: Deleting
    collecting: Collecting


def build_router(registry: Registry) -> APIRouter:
    """The routes, below `/api/v1`."""
    router = APIRouter(tags=["registry"])
    add_models(router, registry.reads)
    add_candidates(router, registry.reads, registry.candidates)
    add_branches(router, registry.names, registry.branches)
    add_pointers(router, registry.names, registry.pointers)
    add_contract(router, registry.names, registry.contracts)
    add_promotion(router, registry.reads, registry.promotions, registry.reverting, registry.describing)
    add_lineage(router, registry.lineage, registry.receiving)
    add_deployments(router, registry.deployments)
    add_deleting(router, registry.reads, registry.deleting, registry.collecting)
    add_versions(router, registry.reads)
    return router
