"""What a new version's event tells of the baseline, so that a subscriber sees how the two differ without asking."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from muniment.contracts.events import MAX_BASELINE_METRICS, Direction, VersionName
from muniment.registry.domain import NewVersion
from muniment.registry.store import SQL
from muniment.runtime.delivery.transaction import Tx


@dataclass(frozen=True, slots=True)
class Baseline:
    """A model's baseline: which version, its metrics over all data, and for which of them higher or lower is better."""

    version: VersionName
    metrics: Mapping[str, float]
    directions: Mapping[str, Direction] = field(default_factory=dict)


async def load_baselines(tx: Tx, new: Sequence[NewVersion]) -> dict[int, Baseline]:
    """The baselines of the new versions' models, by the model's database id. The models' rows are held."""
    models = {version.model.id for version in new if not version.first_of_model}
    if not models:
        return {}
    rows = await tx.connection.fetch(SQL["baselines"], sorted(models))
    return {row["model_id"]: _baseline(row) for row in rows}


def told(baseline: Baseline | None, metrics: Mapping[str, float]) -> dict[str, Any]:
    """The event's fields: of the metrics that both have those of the contract first, `MAX_BASELINE_METRICS` at most."""
    if baseline is None:
        return {}
    both = sorted(baseline.metrics.keys() & metrics.keys(), key=lambda name: (name not in baseline.directions, name))
    shown = both[:MAX_BASELINE_METRICS]
    return {
        "baseline": baseline.version,
        "baseline_metrics": {name: baseline.metrics[name] for name in shown},
        "directions": {name: baseline.directions[name] for name in shown if name in baseline.directions},
    }


def _baseline(row: Any) -> Baseline:
    metrics = {name: float(value) for name, value in json.loads(row["metrics"]).items()}
    tolerances = json.loads(row["tolerances"] or "[]")
    over_all = [one for one in tolerances if one.get("slice") is None and one.get("dataset") is None]
    directions = {one["metric"]: one.get("direction", "higher") for one in over_all}
    return Baseline(VersionName(number=row["number"], id=row["id"]), metrics, directions)
