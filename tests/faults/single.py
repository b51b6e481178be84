"""Faults of one process, one at a time: each returns the seconds from the fault until nothing was open any more.

Each fails where the fault was not seen to happen, or where what was taken is not done in time.
"""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass

from .fleet import Fleet

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
    "audit.tiles-written#3",
    "audit.checkpoint-recorded#3",
    "audit.checkpoint-shown#3",
]  # fmt: skip
SERVICES = ["ingest", "checksum-validator", "registry", "audit", "notifier"]
PAUSE_S = 8.0
"""Longer than a consumer's session (6 s), an audit writer's silence (5 s) and a validator's lease (2 s)."""


@dataclass(frozen=True)
class CaughtUp:
    """Seconds until the process was ready again, and until nothing was open any more."""

    ready_s: float
    done_s: float


async def killed(fleet: Fleet, *steps: str) -> CaughtUp:
    """SIGKILL at the named steps, one of each service at most, all in one load; counted from the last death."""
    died: list[float] = []

    async def arm(step: str) -> None:
        replica = fleet.replica(step.partition(".")[0])
        await replica.stop()
        await replica.start(MUNIMENT_STOP_AT=step)

    async def die(step: str) -> None:
        replica = fleet.replica(step.partition(".")[0])
        try:
            code = await replica.ended()
        except TimeoutError as error:
            raise AssertionError(fleet.why(f"{step} was not reached", replica)) from error
        assert code == -signal.SIGKILL, fleet.why(f"{step} ended with {code}", replica)
        died.append(time.monotonic())
        await replica.start()

    await asyncio.gather(*map(arm, steps))
    async with fleet.loading(per_second=10 if len(steps) == 1 else 5):  # five restarts at once take all of a machine
        await asyncio.gather(*map(die, steps))
        ready = time.monotonic()
    await fleet.caught_up()
    return CaughtUp(ready - max(died), time.monotonic() - max(died))


async def paused(fleet: Fleet, service: str) -> CaughtUp:
    """SIGSTOP for longer than every session and lease, then SIGCONT; counted from there."""
    replica = fleet.replica(service)
    async with fleet.loading(per_second=4) as load:
        await load.taken(2)
        replica.signal(signal.SIGSTOP)
        await asyncio.sleep(PAUSE_S)  # reason: the length of the fault
        assert replica.paused, fleet.why(f"{service} did not stand still")
        replica.signal(signal.SIGCONT)
        went_on = time.monotonic()
    await fleet.caught_up()
    assert replica.runs, fleet.why(f"{service} did not survive its pause", replica)
    return CaughtUp(0.0, time.monotonic() - went_on)


async def stopped(fleet: Fleet, service: str) -> CaughtUp:
    """SIGTERM under load and a new start; counted from the signal."""
    replica = fleet.replica(service)
    async with fleet.loading() as load:
        await load.taken(2)
        signalled = time.monotonic()
        replica.signal(signal.SIGTERM)
        code = await replica.ended()
        assert code == 0, fleet.why(f"{service} ended with {code}", replica)
        await replica.start()
        ready = time.monotonic()
    await fleet.caught_up()
    return CaughtUp(ready - signalled, time.monotonic() - signalled)
