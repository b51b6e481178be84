"""A cluster under test: its webhook sink, everything that was acknowledged so far, and the checker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from muniment.server.parts import Parts

from .cluster import Cluster, cluster
from .facts import Acknowledged, Facts
from .gather import gather, quiet
from .invariants import Finding, judge, told
from .load import Load
from .replicas import Replica
from .sink import Sink

PATIENCE_S = 90.0
"""Only guards against hanging: how soon all was done is measured, not judged here."""


@dataclass
class Fleet:
    """One seed for everything in it."""

    cluster: Cluster
    sink: Sink
    seed: int
    acknowledged: list[Acknowledged] = field(default_factory=list)
    loads: int = 0

    def loading(self, per_second: float = 10) -> AbstractAsyncContextManager[Load]:
        """A load of a seed of its own for the length of the block; its acknowledgements count for the checker."""
        self.loads += 1
        return Load(self.cluster, self.seed * 1000 + self.loads, self.acknowledged, per_second).running()

    def replica(self, service: str) -> Replica:
        """The first one of a service."""
        return self.cluster.replicas[service][0]

    def why(self, what: str, replica: Replica | None = None) -> str:
        """A message that can be acted on: the seed and the end of the log."""
        log = f"\n{replica.log}" if replica else ""
        return f"seed {self.seed} (MUNIMENT_FAULT_SEED={self.seed} replays it): {what}{log}"

    async def caught_up(self, patience: float = PATIENCE_S) -> None:
        """Wait until nothing is open. Fails with what still is."""
        left = {name: count for name, count in (await quiet(self.cluster, patience)).items() if count}
        assert not left, self.why(f"after {patience:.0f} s there still is {left}")

    async def judged(self, patience: float = PATIENCE_S) -> tuple[list[Finding], Facts]:
        """What the checker finds once all is quiet."""
        facts = await gather(self.cluster, self.acknowledged, self.sink, patience=patience)
        return judge(facts), facts

    async def check(self) -> None:
        """Prove the invariants; fails with the whole story."""
        findings, facts = await self.judged()
        story = told(findings, facts, self.seed)
        print(story)
        assert not any(finding.violations for finding in findings), story


@asynccontextmanager
async def fleet(
    parts: Parts, folder: Path, name: str, seed: int, *, replicas: int = 1, trouble: float = 0.1
) -> AsyncIterator[Fleet]:
    """A running one, with one subscription for all events; `trouble` as of `Sink`, the others as of `cluster`."""
    async with Sink(seed, trouble) as sink, cluster(parts, folder, name, replicas=replicas) as running:
        async with running.client("notifier") as client:
            made = await client.create_subscription({"name": "all", "url": sink.url})
        sink.secret = made["secret"]
        yield Fleet(running, sink, seed)
