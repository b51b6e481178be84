"""Rows 1 to 8: services killed at named steps, paused beyond their sessions, and stopped, all under load.

Every run of the suite takes one step of each service, one pause and one stop; `MUNIMENT_FAULTS=all` (`make faults`) all.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from .conftest import Fleet
from .gather import quiet

STEPS = [
    f"{service}.{step}"
    for service in ("ingest", "checksum-validator", "registry", "audit", "notifier")
    for step in ("before-commit#2", "after-commit#2", "before-offsets#2")
] + [
    f"{service}.published-before-marked#2" for service in ("ingest", "checksum-validator", "registry", "audit")
] + [
    "checksum-validator.mid-file#3",
    "checksum-validator.read#3",
    "registry.bytes-locked#2",
    "registry.manifest-written#2",
    "registry.recorded#2",
    "notifier.answered-before-marked#2",
]  # fmt: skip
PAUSE_S = 8.0
"""Longer than a consumer's session (6 s), an audit writer's silence (5 s) and a validator's lease (2 s)."""
SERVICES = ["ingest", "checksum-validator", "registry", "audit", "notifier"]
EVERYTHING = os.environ.get("MUNIMENT_FAULTS") == "all"
FEW = [
    "ingest.after-commit#2",
    "checksum-validator.read#3",
    "registry.manifest-written#2",
    "audit.before-commit#2",
    "notifier.answered-before-marked#2",
]


@pytest.mark.parametrize("step", STEPS if EVERYTHING else FEW)
async def test_killed_at_a_step_under_load(fleet: Fleet, seed: int, step: str) -> None:
    replica = fleet.cluster.replicas[step.partition(".")[0]][0]
    await replica.stop()
    await replica.start(MUNIMENT_STOP_AT=step)
    loading = asyncio.create_task(fleet.load(seed).run(12))
    assert await replica.ended() == -signal.SIGKILL, f"seed {seed}: {step} was not reached\n{replica.log}"
    await replica.start()
    began = time.monotonic()
    await loading
    left, _ = await quiet(fleet.cluster, 30)
    print(f"{step}: caught up in {time.monotonic() - began:.1f} s")
    assert not any(left.values()), f"seed {seed}: {left}"


@pytest.mark.parametrize("service", SERVICES if EVERYTHING else ["audit"])
async def test_paused_beyond_its_session_it_changes_nothing(fleet: Fleet, seed: int, service: str) -> None:
    replica = fleet.cluster.replicas[service][0]
    loading = asyncio.create_task(fleet.load(seed).run(12))
    await asyncio.sleep(0.3)
    replica.signal(signal.SIGSTOP)
    await asyncio.sleep(PAUSE_S)
    replica.signal(signal.SIGCONT)
    await loading
    left, _ = await quiet(fleet.cluster, 30)
    assert not any(left.values()), f"seed {seed}: {left}"
    assert replica.process is not None
    assert replica.process.returncode is None, f"seed {seed}: it did not survive its pause\n{replica.log}"


@pytest.mark.parametrize("service", SERVICES if EVERYTHING else ["registry"])
async def test_asked_to_stop_under_load_it_ends_in_order(fleet: Fleet, seed: int, service: str) -> None:
    replica = fleet.cluster.replicas[service][0]
    loading = asyncio.create_task(fleet.load(seed).run(12))
    await asyncio.sleep(0.3)
    replica.signal(signal.SIGTERM)
    assert await replica.ended() == 0, f"seed {seed}\n{replica.log}"
    await replica.start()
    await loading
    left, _ = await quiet(fleet.cluster, 30)
    assert not any(left.values()), f"seed {seed}: {left}"


async def test_nothing_was_lost_or_done_twice(fleet: Fleet, seed: int) -> None:
    assert fleet.acknowledged
    await fleet.check(seed)
