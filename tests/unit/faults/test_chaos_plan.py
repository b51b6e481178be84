"""The plan of chaos: a function of its seed, and every kind of fault in it."""

from __future__ import annotations

import pytest

from tests.faults.chaos_plan import COST_S, PARTS, PROCESSES, plan
from tests.faults.single import PAUSE_S


@pytest.mark.parametrize("seed", [1, 7, 12345])
def test_the_same_seed_makes_the_same_plan(seed: int) -> None:
    assert plan(seed, 300) == plan(seed, 300)


def test_another_seed_makes_another_plan() -> None:
    assert plan(1, 300) != plan(2, 300)


def test_a_longer_run_goes_on_where_the_shorter_one_ends() -> None:
    for lane in ("processes", "parts"):
        short, long = ([fault for fault in plan(3, seconds) if fault.lane == lane] for seconds in (60, 600))
        assert long[: len(short)] == short
        assert len(long) > len(short)


@pytest.mark.parametrize("seed", range(20))
def test_two_minutes_hold_every_kind_of_fault(seed: int) -> None:
    faults = plan(seed, 120)
    assert {fault.kind for fault in faults if fault.lane == "processes"} == set(PROCESSES)
    assert {(fault.kind, fault.target) for fault in faults if fault.lane == "parts"} == set(PARTS)


@pytest.mark.parametrize("seed", range(20))
def test_a_pause_outlasts_every_session(seed: int) -> None:
    assert all(fault.hold_s >= PAUSE_S for fault in plan(seed, 300) if fault.lane == "processes" and fault.hold_s)


def test_each_lane_is_filled_for_the_length_asked_for() -> None:
    faults = plan(5, 300)
    parts = sum(fault.gap_s + fault.hold_s for fault in faults if fault.lane == "parts")
    processes = sum(fault.gap_s + fault.hold_s + COST_S[fault.kind] for fault in faults if fault.lane == "processes")
    assert 300 <= parts < 320
    assert 300 <= processes < 320
