"""A model's history as a graph: its rows for drawing, blame, and bisect with its why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import asyncpg

from muniment.ports.blobs import BlobStore
from muniment.registry.history.bisects import Bisects
from muniment.registry.history.blaming import Blames
from muniment.registry.history.loading import Histories
from muniment.registry.history.rows import GraphRows
from muniment.registry.history.tensors import TensorDigests
from muniment.registry.history.why import Whys
from muniment.registry.measuring import metric_values
from muniment.registry.tolerances import Measured


@dataclass(frozen=True, slots=True)
class History:
    """What is asked about a history."""

    rows: GraphRows
    blames: Blames
    bisects: Bisects

    @classmethod
    def of(cls, pool: asyncpg.Pool[Any], blobs: BlobStore) -> History:
        """On a database and a store."""
        histories = Histories(pool)
        tensors = TensorDigests(pool, blobs)

        async def values(model_id: int, numbers: Iterable[int], metric: Measured) -> dict[int, float]:
            """What is known of a metric now: evaluations stand above manifests."""
            known = await metric_values(pool, model_id, metric.metric, metric.dataset, metric.slice)
            return {number: known[number] for number in numbers if number in known}

        return cls(
            GraphRows(histories),
            Blames(histories, tensors),
            Bisects(histories, values, Whys(histories, tensors)),
        )
