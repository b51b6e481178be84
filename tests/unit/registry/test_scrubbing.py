"""The scrubber's rules: its rate, what is damaged, what is refused; and reading in ranges at a pace."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.adapters.memory import MemoryBlobStore
from muniment.contracts.errors import Misconfigured, Transient
from muniment.contracts.integrity import MAX_NAMED
from muniment.ports.blobs import HashResult, Location
from muniment.registry.bytes_check import CommittedBytes
from muniment.registry.scrubbing.reading import RANGE, Pace, PacedReader
from muniment.registry.scrubbing.rules import (
    SLOWEST,
    SMALL,
    by_model,
    cost_of,
    cycle_rate,
    integrity_gate,
    reading_rate,
    version_damaged,
)

DAY = 24 * 3600.0
ROW = {
    "path": "model.bin",
    "sha256": "a" * 64,
    "size": 12,
    "damaged_at": datetime(2026, 5, 17, tzinfo=UTC),
    "damage_code": "bytes_damaged",
    "damage_actual": "sha256:bb, 12 B",
}


@given(cost=st.integers(0, 10**18), cycle=st.floats(60, 1e9), cap=st.floats(65536, 1e12))
def test_a_cycle_is_kept_wherever_the_cap_allows_it(cost: int, cycle: float, cap: float) -> None:
    rate = cycle_rate(cost, cycle, cap)
    assert rate <= cap
    assert rate == cap or cost / rate <= cycle * 1.000001
    assert rate <= cycle_rate(cost, cycle, cap, oldest_s=cycle * 2) <= cap
    assert rate <= reading_rate(rate, cap) <= max(cap, SLOWEST)


def test_what_was_missed_is_caught_up_with() -> None:
    assert cycle_rate(27 * 86_400 * 10, 30 * DAY, 1e9) == pytest.approx(10.0), "a tenth of the cycle is for rest"
    assert cycle_rate(300 * 86_400, 30 * DAY, 1e9, oldest_s=31 * DAY) == 2 * cycle_rate(300 * 86_400, 30 * DAY, 1e9)
    assert cycle_rate(10**15, DAY, 1000.0) == 1000.0
    assert cost_of([0, 1, SMALL + 1]) == 3 * SMALL + 1


def test_a_refusal_names_file_both_digests_and_the_next_step() -> None:
    error = version_damaged("digits/3", [ROW, {**ROW, "path": "b"}])
    assert (error.code, error.http_status) == ("version_damaged", 409)
    assert "model.bin and 1 more" in error.message
    assert (error.expected, error.actual) == (f"sha256:{'a' * 64}, 12 B", "sha256:bb, 12 B")
    assert "muniment scrub repair digits/3 model.bin --from" in (error.hint or "")


def test_force_opens_the_gate_and_says_so() -> None:
    assert integrity_gate("digits/3", [], force=False) is None
    shut, forced = (integrity_gate("digits/3", [ROW], force=force) for force in (False, True))
    assert shut is not None
    assert forced is not None
    assert (shut.passed, forced.passed) == (False, True)
    assert (forced.actual or "").startswith("forced: model.bin")


def test_an_event_names_so_many_files_and_counts_the_rest() -> None:
    version = {"number": 1, "id": "sha256:" + "a" * 64, "release": None}
    rows = [{"model": "digits", "path": f"{n}.bin", **version} for n in range(MAX_NAMED + 7)]
    digits, letters = by_model([*rows, {"model": "letters", "path": "a", **version}])
    assert (len(digits.files), digits.more) == (MAX_NAMED, 7)
    assert (letters.model, len(letters.files), letters.more) == ("letters", 1, 0)


@pytest.mark.parametrize("size", [0, 1, 2 * 1024**2, RANGE, RANGE + 1, 3 * RANGE - 1])
async def test_ranges_give_the_digest_of_the_whole(size: int) -> None:
    blobs = MemoryBlobStore()
    await blobs.ensure_bucket("muniment-models", object_lock=True)
    data = bytes(range(256)) * (size // 256 + 1)
    place = await blobs.put("muniment-models", "k", data[:size])
    seen: list[int] = []
    for expected in (size, 2 * 1024**2):  # what is expected decides nothing but the way
        read = await PacedReader(blobs, Pace(1e12)).read(place, expected, seen.append)
        assert (read.sha256, read.size) == (hashlib.sha256(data[:size]).hexdigest(), size)
    assert sum(seen) == 2 * size


async def test_a_pace_is_of_all_reads_together() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    pace = Pace(1000.0, sleep)
    await asyncio.gather(*(pace.take(100_000) for _ in range(3)))
    assert [round(seconds / 100) for seconds in slept] == [1, 2]


async def test_two_different_readings_are_no_damage_and_neither_is_another_store() -> None:
    blobs = MemoryBlobStore()
    await blobs.ensure_bucket("muniment-models", object_lock=True)
    place = await blobs.put("muniment-models", "k", b"data")
    answers = iter(["1", "2"])

    async def noisy(_: Location, size: int) -> Any:
        return HashResult(next(answers) * 64, size, None)  # type: ignore[arg-type]  # reason: nobody looks at the edges

    committed = CommittedBytes(blobs)
    with pytest.raises(Transient, match="different bytes"):
        await committed.look(place, "a" * 64, 4, noisy)
    with pytest.raises(Misconfigured, match="not in the store"):
        await committed.look(Location("elsewhere", "k", "v"), "a" * 64, 4)
    gone = await committed.look(Location("muniment-models", "k", "v"), "a" * 64, 4)
    assert gone is not None
    assert gone.code == "bytes_missing"
