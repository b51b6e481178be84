"""A cluster whose parts can be broken one by one; when the last test is over, the checker looks at all of them."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest

from tests.faults.breakable import Breakable, breakable_parts
from tests.faults.cluster import Cluster
from tests.faults.facts import Acknowledged
from tests.faults.fleet import Fleet, fleet
from tests.faults.flood import Flood, Order, Told
from tests.faults.http_proxy import HttpProxy
from tests.faults.replicas import Replica

EVERYTHING = os.environ.get("MUNIMENT_FAULTS") == "all"
ANSWER_S = 15.0
"""Longer than any deadline on the way of a request: who waits so long would wait for ever."""
RISE_MIB = 100.0
PATIENCE_S = 90.0
_numbers = itertools.count(1)


@dataclass
class Outage:
    """The fleet, its parts, and the proxy that speaks HTTP before its store."""

    fleet: Fleet
    parts: Breakable
    store: HttpProxy

    @property
    def replicas(self) -> list[Replica]:
        """All processes of ours."""
        return self.fleet.cluster.everything

    def memory_mib(self) -> dict[str, float]:
        """Resident memory of each service."""
        return {replica.service: replica.usage().rss_mib for replica in self.replicas}

    async def load(self, count: int) -> None:
        """Publish by both ways until `count` are acknowledged."""
        async with self.fleet.loading() as load:
            await load.taken(count)

    async def flood(self, seconds: float, per_second: float = 10.0) -> Told:
        """Publish by HTTP at a pace, whatever is answered. What was accepted counts for the checker."""
        self.fleet.loads += 1
        running = self.fleet.cluster
        name = f"flood-{self.fleet.seed}-{self.fleet.loads}"
        file = await _landed(running, name)
        order = Order(name, running.replicas["ingest"][0].url, running.token, "", file, seconds, per_second)
        headers = {"authorization": f"Bearer {running.token}"}
        async with httpx2.AsyncClient(headers=headers, timeout=ANSWER_S, trust_env=False) as http:
            flood = Flood(order, http)
            await flood.run()
        self.fleet.acknowledged += [Acknowledged(one, "", "version") for one in flood.told.accepted]
        return flood.told

    async def waiting(self) -> int:
        """Events of ingest that the broker does not have yet."""
        connection = await asyncpg.connect(self.fleet.cluster.dsn)
        try:
            return int(await connection.fetchval("SELECT count(*) FROM ingest.outbox WHERE sent_at IS NULL"))
        finally:
            await connection.close()

    async def recovered(self, pids: dict[str, int]) -> None:
        """Everything is done, in the processes of before."""
        for replica in self.replicas:
            assert replica.runs, self.fleet.why(f"{replica.name} ended by itself", replica)
        await self.fleet.caught_up(PATIENCE_S)
        assert self.pids() == pids, self.fleet.why("something was started again")

    def pids(self) -> dict[str, int]:
        """Our running processes."""
        return {replica.name: replica.pid for replica in self.replicas if replica.runs}


@pytest.fixture(scope="package")
async def outage(tmp_path_factory: pytest.TempPathFactory, seed: int) -> AsyncIterator[Outage]:
    name = f"o{os.getpid()}-{next(_numbers)}"
    async with breakable_parts(tmp_path_factory.mktemp("breakable")) as breakable:
        straight = breakable.parts
        split = urlsplit(straight.s3.endpoint)
        async with HttpProxy(split.hostname or "", split.port or 80) as store:
            endpoint = dataclasses.replace(straight.s3, endpoint=f"http://127.0.0.1:{store.port}")
            behind = dataclasses.replace(straight, s3=endpoint)
            async with fleet(behind, tmp_path_factory.mktemp("outages"), name, seed) as running:
                running.cluster.parts = straight  # the load and the checker go around the proxy
                yield Outage(running, breakable, store)
                store.heal()
                await running.check()


@pytest.fixture
def healed(outage: Outage) -> Iterator[Outage]:
    """The same, with every fault of the proxies taken away before and after."""
    _heal(outage)
    yield outage
    _heal(outage)


async def _landed(running: Cluster, name: str) -> dict[str, Any]:
    data = name.encode()
    blobs = running.blobs()
    try:
        place = await blobs.put(running.landing, f"{name}/model.bin", data)
    finally:
        await blobs.aclose()
    location = f"s3://{place.bucket}/{place.key}"
    return {"path": "model.bin", "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "location": location}


def _heal(outage: Outage) -> None:
    outage.store.heal()
    for proxy in (outage.fleet.cluster.store, outage.fleet.cluster.database):
        proxy.heal()
        proxy.fired.clear()
