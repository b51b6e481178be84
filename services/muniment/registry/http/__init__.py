"""The registry's HTTP API below `/api/v1`, a file for each noun. `app.py` adds them in their order."""

from muniment.registry.http.branches import add_branches, add_pointers
from muniment.registry.http.candidates import add_candidates
from muniment.registry.http.comparing import add_comparing
from muniment.registry.http.history import add_history
from muniment.registry.http.lineage import add_deleting, add_deployments, add_lineage
from muniment.registry.http.measurements import add_measurements
from muniment.registry.http.models import add_models
from muniment.registry.http.promotion import add_contract, add_promotion
from muniment.registry.http.releases import add_releases, add_tracks
from muniment.registry.http.scrubbing import add_scrubbing
from muniment.registry.http.signatures import add_signatures
from muniment.registry.http.versions import add_versions

__all__ = [
    "add_branches",
    "add_candidates",
    "add_comparing",
    "add_contract",
    "add_deleting",
    "add_deployments",
    "add_history",
    "add_lineage",
    "add_measurements",
    "add_models",
    "add_pointers",
    "add_promotion",
    "add_releases",
    "add_scrubbing",
    "add_signatures",
    "add_tracks",
    "add_versions",
]
