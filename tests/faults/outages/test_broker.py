"""Row 10: the broker is gone, or takes connections and answers nothing. The way in works on; afterwards all goes on."""

from __future__ import annotations

import pytest

from .conftest import EVERYTHING, RISE_MIB, Outage

pytestmark = pytest.mark.timeout(400)
AWAY_S = 60.0 if EVERYTHING else 4.0


@pytest.mark.parametrize("how", ["killed", "frozen"] if EVERYTHING else ["killed"])
async def test_publications_are_taken_while_the_broker_is_away_and_go_on_after_it(healed: Outage, how: str) -> None:
    pids, memory = healed.pids(), healed.memory_mib()
    await healed.load(10)
    await (healed.parts.kill if how == "killed" else healed.parts.freeze)("kafka")
    try:
        told = await healed.flood(AWAY_S)
        waiting, high = await healed.waiting(), healed.memory_mib()
    finally:
        if how == "killed":
            await healed.parts.start("kafka")
        else:
            healed.parts.thaw("kafka")
    seen = healed.fleet.why(f"{dict(told.answers)}, {waiting} events waited, {memory} -> {high} MiB")
    assert told.accepted, seen
    assert told.bounded, seen
    assert waiting >= len(told.accepted), f"the broker took them; {seen}"
    await healed.load(5)
    await healed.recovered(pids)
    assert all(high[service] < memory[service] + RISE_MIB for service in memory), seen
