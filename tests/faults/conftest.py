"""A fleet for the faults: one cluster for the module, one subscription for all events, one seed."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from muniment.server.parts import Parts

from .cluster import Cluster, cluster
from .facts import Acknowledged
from .gather import gather
from .invariants import judge, told
from .load import Load
from .sink import Sink

_numbers = itertools.count(1)
PATIENCE_S = 30.0


@dataclass
class Fleet:
    """A cluster with its sink, and everything that was acknowledged so far."""

    cluster: Cluster
    sink: Sink
    acknowledged: list[Acknowledged]
    loads: int = 0

    def load(self, seed: int) -> Load:
        """A load of its own seed, whose acknowledgements count for the checker."""
        self.loads += 1
        made = Load(self.cluster, seed * 1000 + self.loads)
        made.acknowledged = self.acknowledged
        return made

    async def check(self, seed: int) -> None:
        """Wait for quiet and prove the invariants; fails with the whole story."""
        facts = await gather(self.cluster, self.acknowledged, self.sink, patience=PATIENCE_S)
        findings = judge(facts)
        story = told(findings, facts, seed)
        print(story)
        assert not any(finding.violations for finding in findings), story


@pytest.fixture(scope="session")
def seed() -> int:
    """`MUNIMENT_FAULT_SEED` replays a run."""
    return int(os.environ.get("MUNIMENT_FAULT_SEED") or "0") or random.randrange(1, 1_000_000)


@pytest.fixture(scope="module")
async def fleet(parts: Parts, tmp_path_factory: pytest.TempPathFactory, seed: int) -> AsyncIterator[Fleet]:
    name = f"f{os.getpid()}-{next(_numbers)}"
    async with Sink(seed) as sink, cluster(parts, tmp_path_factory.mktemp("faults"), name) as running:
        async with running.client("notifier") as client:
            made = await client.create_subscription({"name": "all", "url": sink.url})
        sink.secret = made["secret"]
        yield Fleet(running, sink, [])
