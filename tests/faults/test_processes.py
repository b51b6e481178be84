"""Rows 1 to 8: services killed at named steps, paused beyond their sessions, and stopped, all under load.

Every run of the suite takes a step of each service (all in one load), one pause and one stop; `MUNIMENT_FAULTS=all`
(`make faults`) takes every step, pause and stop by itself.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from muniment.server.parts import Parts

from .fleet import Fleet
from .fleet import fleet as running_fleet
from .single import SERVICES, STEPS, killed, paused, stopped

EVERYTHING = os.environ.get("MUNIMENT_FAULTS") == "all"
FEW = (
    "ingest.after-commit#2",
    "checksum-validator.read#3",
    "registry.manifest-written#2",
    "audit.before-commit#5",
    "notifier.answered-before-marked#2",
)


@pytest.fixture(scope="module")
async def fleet(parts: Parts, tmp_path_factory: pytest.TempPathFactory, seed: int) -> AsyncIterator[Fleet]:
    folder = tmp_path_factory.mktemp("processes")
    async with running_fleet(parts, folder, f"p{os.getpid()}", seed, stop_at=() if EVERYTHING else FEW) as running:
        yield running


@pytest.mark.parametrize(
    "steps", [pytest.param((step,), id=step) for step in STEPS] if EVERYTHING else [pytest.param(FEW, id="few")]
)
async def test_killed_at_named_steps_under_load_all_is_done_after_a_restart(
    fleet: Fleet, steps: tuple[str, ...]
) -> None:
    print(f"{steps}: {await killed(fleet, *steps, armed=not EVERYTHING)}")


@pytest.mark.parametrize("service", SERVICES if EVERYTHING else ["audit"])
async def test_paused_beyond_its_session_it_changes_nothing(fleet: Fleet, service: str) -> None:
    print(f"{service}: {await paused(fleet, service)}")


@pytest.mark.parametrize("service", SERVICES if EVERYTHING else ["registry"])
async def test_asked_to_stop_under_load_it_ends_in_order(fleet: Fleet, service: str) -> None:
    print(f"{service}: {await stopped(fleet, service)}")


async def test_nothing_was_lost_or_done_twice(fleet: Fleet) -> None:
    assert fleet.acknowledged
    await fleet.check()
