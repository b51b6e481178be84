"""Rows 1 to 8: services killed at named steps, paused beyond their sessions, and stopped, all under load.

Every run of the suite takes two steps of each service (five services in one load), one pause and one stop;
`MUNIMENT_FAULTS=all` (`make faults`) takes every step by itself, and every pause and stop.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from muniment.server.parts import Parts

from .fleet import Fleet
from .fleet import fleet as running_fleet
from .log_layers import log_agrees, tampering_is_found
from .scrubber import REPAIR_STEPS, SCRUB_STEPS, repair_killed, scrub_killed
from .single import STEPS, killed, paused, stopped

EVERYTHING = os.environ.get("MUNIMENT_FAULTS") == "all"
FEW = (
    "ingest.after-commit#2",
    "checksum-validator.read#3",
    "registry.manifest-written#2",
    "audit.checkpoint-recorded#3",
    "notifier.answered-before-marked#2",
)
MORE = (
    "ingest.published-before-marked#2",
    "checksum-validator.mid-file#3",
    "registry.published-before-marked#2",
    "audit.published-before-marked#2",
    "notifier.before-commit#2",
)
PAIRS = (
    ("audit", "registry"),
    ("registry", "notifier"),
    ("notifier", "ingest"),
    ("ingest", "checksum-validator"),
    ("checksum-validator", "audit"),
)


@pytest.fixture(scope="module")
async def fleet(parts: Parts, tmp_path_factory: pytest.TempPathFactory, seed: int) -> AsyncIterator[Fleet]:
    folder = tmp_path_factory.mktemp("processes")
    async with running_fleet(parts, folder, f"p{os.getpid()}", seed) as running:
        yield running


@pytest.mark.parametrize(
    "steps",
    [pytest.param((step,), id=step) for step in STEPS]
    if EVERYTHING
    else [pytest.param(FEW, id="few"), pytest.param(MORE, id="more")],
)
async def test_killed_at_named_steps_under_load_all_is_done_after_a_restart(
    fleet: Fleet, steps: tuple[str, ...]
) -> None:
    print(f"{steps}: {await killed(fleet, *steps)}")


@pytest.mark.parametrize(("sleeper", "leaver"), PAIRS if EVERYTHING else PAIRS[:1])
async def test_one_paused_beyond_its_session_changes_nothing_and_one_asked_to_stop_ends_in_order(
    fleet: Fleet, sleeper: str, leaver: str
) -> None:
    print(f"{sleeper}, {leaver}: {await asyncio.gather(paused(fleet, sleeper), stopped(fleet, leaver))}")


@pytest.mark.parametrize("step", REPAIR_STEPS if EVERYTHING else REPAIR_STEPS[:1])
async def test_a_repair_that_dies_is_made_by_asking_again(fleet: Fleet, step: str) -> None:
    await repair_killed(fleet, step)


@pytest.mark.skipif(not EVERYTHING, reason="`make faults` runs it")
@pytest.mark.parametrize("step", SCRUB_STEPS)
async def test_a_pass_of_the_scrubber_that_dies_is_ended_by_the_next_process(fleet: Fleet, step: str) -> None:
    await scrub_killed(fleet, step)


async def test_nothing_was_lost_or_done_twice_and_all_layers_of_the_log_agree(fleet: Fleet) -> None:
    assert fleet.acknowledged
    await fleet.check()
    await log_agrees(fleet)


async def test_one_byte_changed_in_any_store_is_found_with_its_entry_and_layer(fleet: Fleet) -> None:
    await tampering_is_found(fleet)
