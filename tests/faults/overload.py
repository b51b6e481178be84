"""Ten times what the stack can take, for a while: what it refuses, what it holds, and whether all it accepted arrives.

`make overload SECONDS=120`. The capacity is measured first, with clients that wait for their answers. Then clients send
at ten times that rate, whatever is answered, and events beside them. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import asyncpg
import httpx2

from tests.bench.stack import LANDING, Stack, clean_environment, running
from tests.bench.usage import memory_mib, watching

from .flood import Order, Told

CLIENTS = 2
TIMES = 10
EVENTS_PER_SECOND = 100.0


@dataclass(frozen=True)
class Outcome:
    """What was seen. Times are seconds, memory is MiB of the process that runs all services."""

    capacity_per_s: float
    offered_per_s: float
    answers: dict[str, int]
    accepted: int
    retry_after: tuple[int, int]
    without_retry_after: int
    unsent: int
    health_slowest_s: float
    health_failed: int
    rss_before_mib: float
    rss_peak_mib: float
    rss_after_mib: float
    drained_s: float
    lost: int
    stages: dict[str, int]
    same_process: bool


async def overload(*, seconds: float, seed: int, drain_s: float, **environment: str) -> Outcome:
    """Run it on a stack of its own. `seed` makes names and bytes; `drain_s` bounds the wait for what was accepted."""
    async with running(None, **environment) as stack:
        file = await landed(stack, seed)
        calm = (await flood(stack, [order(stack, f"{seed}-calm", file, min(seconds, 10.0), 0.0)]))[0]
        capacity = len(calm.accepted) / min(seconds, 10.0)
        await ended(stack, calm.accepted, drain_s)
        before = memory_mib(stack.services)
        offered = capacity * TIMES
        orders = [
            order(stack, f"{seed}-{client}", file, seconds, offered / CLIENTS, EVENTS_PER_SECOND / CLIENTS)
            for client in range(CLIENTS)
        ]
        async with watching(stack.services) as seen:
            health = asyncio.create_task(_health(stack))
            told = await flood(stack, orders)
            health.cancel()
            slowest, failed = (await asyncio.gather(health, return_exceptions=False))[0]
            accepted = [one for client in told for one in client.accepted]
            answers = dict(sum((Counter(client.answers) for client in told), Counter[str]()))
            print(f"# {offered:.0f} offered a second: {answers}, peak {seen.peak:.0f} MiB; draining", file=sys.stderr)
            began = time.monotonic()
            stages = await ended(stack, accepted, drain_s)
            drained = time.monotonic() - began
        waits = [wait for client in told for wait in client.waits] or [0]
        return Outcome(
            capacity,
            offered,
            answers,
            len(accepted),
            (min(waits), max(waits)),
            sum(client.without_wait for client in told),
            sum(client.unsent for client in told),
            slowest,
            failed,
            before,
            seen.peak,
            memory_mib(stack.services),
            drained,
            len(accepted) - stages.get("committed", 0) - stages.get("rejected", 0),
            stages,
            stack.process.returncode is None,
        )


def order(stack: Stack, name: str, file: dict[str, Any], seconds: float, rate: float, events: float = 0.0) -> Order:
    """What one client is to do with this stack."""
    return Order(name, stack.url, stack.token, stack.endpoints.kafka.bootstrap, file, seconds, rate, events)


async def landed(stack: Stack, seed: int) -> dict[str, Any]:
    """A file in the landing bucket, as an event declares it."""
    data = f"weights of seed {seed}".encode()
    blobs = stack.blobs(2)
    try:
        place = await blobs.put(LANDING, f"flood/{seed}/model.bin", data)
    finally:
        await blobs.aclose()
    location = f"s3://{place.bucket}/{place.key}"
    return {
        "path": "model.bin",
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "location": location,
    }


async def flood(stack: Stack, orders: list[Order]) -> list[Told]:
    """Clients, each a process, until all have told."""

    async def client(order: Order) -> Told:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.faults.flood"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=clean_environment(),
        )
        try:
            async with asyncio.timeout(order.seconds + 120):
                out, _ = await process.communicate(json.dumps(asdict(order)).encode())
        finally:
            if process.returncode is None:
                process.kill()
        return Told(**json.loads(out))

    return list(await asyncio.gather(*(client(order) for order in orders)))


async def _health(stack: Stack) -> tuple[float, int]:
    """Until cancelled: the slowest answer of /healthz, and how many failed."""
    slowest, failed = 0.0, 0
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as http:
        try:
            while True:
                began = time.monotonic()
                try:
                    failed += (await http.get(f"{stack.url}/healthz")).status_code != 200
                except httpx2.HTTPError:
                    failed += 1
                slowest = max(slowest, time.monotonic() - began)
                await asyncio.sleep(0.25)
        except asyncio.CancelledError:
            return slowest, failed


async def ended(stack: Stack, accepted: list[str], within_s: float) -> dict[str, int]:
    """How many of them are in each stage, once all have ended or the time is up."""
    connection = await asyncpg.connect(stack.endpoints.postgres_dsn)
    ends = time.monotonic() + within_s
    try:
        while True:
            rows = await connection.fetch(
                "SELECT stage, count(*) AS many FROM ingest.publication WHERE id = ANY($1::uuid[]) GROUP BY stage",
                accepted,
            )
            stages = {row["stage"]: int(row["many"]) for row in rows}
            over = stages.get("committed", 0) + stages.get("rejected", 0) == len(accepted)
            if over or time.monotonic() > ends:
                return stages
            await asyncio.sleep(0.5)
    finally:
        await connection.close()


def main() -> int:
    """Print what was seen; 1 if something accepted did not arrive, or a refusal named no wait."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    seen = asyncio.run(overload(seconds=asked.seconds, seed=asked.seed, drain_s=600))
    print(json.dumps({"overload": asdict(seen), "seconds": asked.seconds, "seed": asked.seed, "cores": os.cpu_count()}))
    return int(bool(seen.lost or seen.without_retry_after or seen.health_failed or not seen.same_process))


if __name__ == "__main__":
    raise SystemExit(main())
