"""The checker of the soak: a sound run has no violation, and each kind of damage is named."""

from __future__ import annotations

import itertools

import pytest

from tests.faults.soak_plan import (
    BROKER_FAULTS,
    MAIL_FAULTS,
    MOST_FAULTS,
    WISHES,
    Arrival,
    broker_faults,
    events,
    judge,
    mail_fault_of,
)

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


@pytest.mark.parametrize("seed", range(20))
def test_the_broker_fails_twice_each_time_with_an_event_for_the_topic_under_way(seed: int) -> None:
    sent = list(itertools.islice(events(seed), 120))
    plan = sorted(broker_faults(seed, sent).items())
    assert [fault for _, fault in plan] == [BROKER_FAULTS[0], None, BROKER_FAULTS[1], None]
    topic = next(wish for wish in WISHES if wish.channel == "kafka")
    assert all(topic.wants(sent[place]) for place, fault in plan if fault is not None)
    assert broker_faults(seed, sent) == dict(plan)


def test_mails_meet_every_trouble_and_each_gets_through_in_the_end() -> None:
    met = [mail_fault_of(1, f"delivery-{number}", 1) for number in range(200)]
    assert set(met) == {None, *MAIL_FAULTS}
    assert not any(mail_fault_of(1, f"delivery-{number}", MOST_FAULTS + 1) for number in range(200))
