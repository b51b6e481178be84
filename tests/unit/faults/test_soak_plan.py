"""The checker of the soak: a sound run has no violation, and each kind of damage is named."""

from __future__ import annotations

import itertools

import pytest

from tests.faults.soak_plan import WISHES, Arrival, events, judge

SENT = list(itertools.islice(events(1), 200))


def sound() -> dict[str, list[Arrival]]:
    return {
        wish.name: [Arrival(event.number, f"{wish.name}-{event.number}") for event in SENT if wish.wants(event)]
        for wish in WISHES
    }


def test_a_sound_run_has_no_violation_though_some_comes_again() -> None:
    arrivals = sound()
    arrivals["everything"].append(arrivals["everything"][0])
    rows, bad = judge(SENT, arrivals, {})
    assert bad == []
    assert [row.again for row in rows if row.wish.name == "everything"] == [1]
    assert all(row.wanted for row in rows)
    assert len({row.wanted for row in rows}) > 5, "filters that are told apart by nothing"


@pytest.mark.parametrize(
    ("added", "what"),
    [
        (None, "is missing"),
        (Arrival(-1, "x"), "does not match"),
        (Arrival(1, "another id"), "came under"),
        (Arrival(1, "everything-2"), "told of"),
        (Arrival(1, "slack-1"), "came under"),
        (Arrival(1, "everything-1", verified=False), "no right signature"),
    ],
)
def test_each_damage_is_named(added: Arrival | None, what: str) -> None:
    arrivals = sound()
    if added is None:
        del arrivals["everything"][0]
    else:
        arrivals["everything"].append(added)
    _, bad = judge(SENT, arrivals, {})
    assert what in "\n".join(one.what for one in bad)
    assert {one.wish for one in bad} == {"everything"}


def test_the_same_seed_tells_the_same() -> None:
    assert list(itertools.islice(events(1), 200)) == SENT
    assert list(itertools.islice(events(2), 200)) != SENT
