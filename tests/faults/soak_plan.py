"""What a soak of the notifier sends, who wants what of it, and what must have come of that. Pure, and seeded.

Who wants what is decided here anew, from the filters as a user writes them: nothing of the service is used for it.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

MODELS = ("a-1", "a-2", "b-1", "b-2", "c-1", "c-2", "d-1")
FAULTS = ("500", "503 and Retry-After", "hang", "reset", "half an answer", "garbage", "slow")
MOST_FAULTS = 3
"""For one delivery: the waits between its attempts grow."""
SHARE_OF_FAULTS = 0.2
MAIL_FAULTS = {"mail cut in its data": "cut", "mail not taken": "451 not now", "mail kept, then cut": "kept, then cut"}
"""What the mail server does, each as `SmtpSink.trouble` says it."""
SHARE_OF_MAIL_FAULTS = 0.4
BROKER_FAULTS = ("broker breaks", "broker is silent")
BROKER_FAULT_EVENTS = 20
"""How long each holds, counted in events that are told meanwhile."""


@dataclass(frozen=True)
class Told:
    """An event that is sent. `number` tells it from all others."""

    number: int
    type: str
    model: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Wish:
    """A subscription. `filter` is what a user gives; `goes` is the number of arrivals after which it answers 410."""

    name: str
    channel: str
    filter: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    goes: int | None = None

    def wants(self, event: Told) -> bool:
        """Whether it must hear of the event."""
        wanted, facts = self.filter, event.facts
        return (
            event.type in wanted.get("types", (event.type,))
            and fnmatchcase(event.model, wanted.get("model", "*"))
            and all(name in facts and fnmatchcase(facts[name], wanted[name]) for name in ("branch",) if name in wanted)
            and all(facts.get(name) == wanted[name] for name in ("stability", "track") if name in wanted)
            and all(_tagged(facts.get("tags", {}), wish) for wish in wanted.get("tags", ()))
            and all(_measured(facts.get("metrics", {}), wish) for wish in wanted.get("metrics", ()))
        )


def _tagged(tags: Mapping[str, str], wish: str) -> bool:
    name, equals, value = wish.partition("=")
    return name in tags and (not equals or tags[name] == value)


def _measured(metrics: Mapping[str, float], wish: str) -> bool:
    name, sign, bound = wish.split()
    found = metrics.get(name)
    if found is None:
        return False
    return found >= float(bound) if sign == ">=" else found < float(bound)


TITLE = "soak {model} {number}"
AVAILABLE = {"types": ["version-available"]}
"""People's channels are told by titles, which name a number only where the event has one."""
WISHES = (
    Wish("everything", "webhook", {}),
    Wish("by-model", "webhook", {"model": "a-*"}),
    Wish("by-branch", "webhook", {"branch": "exp/*"}, {"signing": "ed25519"}),
    Wish("by-metric", "webhook", {"stability": "stable", "metrics": ["accuracy >= 0.9"]}),
    Wish("by-tag", "webhook", {"tags": ["env=production"]}),
    Wish("rejected", "webhook", {"types": ["model-rejected"]}),
    Wish("two-wishes", "webhook", {"model": "?-1", "metrics": ["accuracy >= 0.5", "loss < 0.5"], "tags": ["team"]}),
    Wish("goes-away", "webhook", {"model": "b-*"}, goes=5),
    Wish("slack", "slack", {**AVAILABLE, "model": "b-*"}, {"title": TITLE}),
    Wish("teams", "teams", {**AVAILABLE, "branch": "main"}, {"title": TITLE}),
    Wish("mail", "email", {**AVAILABLE, "stability": "candidate"}, {"title": TITLE}),
    Wish("topic", "kafka", {"model": "c-*"}),
)


def events(seed: int) -> Iterator[Told]:
    """All that is told, without end."""
    chance = random.Random(seed)
    number = 0
    while True:
        number += 1
        model = chance.choice(MODELS)
        if chance.random() < 0.2:
            yield Told(number, "model-rejected", model, {})
            continue
        tags = {"env": chance.choice(("production", "staging")), "team": "vision"}
        yield Told(
            number,
            "version-available",
            model,
            {
                "branch": chance.choice(("main", "exp/dropout", "exp/wide")),
                "stability": chance.choice(("experimental", "candidate", "stable")),
                "track": "production",
                "tags": {name: tags[name] for name in chance.sample(sorted(tags), chance.randint(0, 2))},
                "metrics": {"accuracy": round(chance.uniform(0.4, 1), 3), "loss": round(chance.uniform(0, 1), 3)},
            },
        )


def fault_of(seed: int, wish: str, delivery: str, attempt: int) -> str | None:
    """The trouble that an attempt meets, the same in every run in which the delivery is the same."""
    chance = random.Random(f"{seed} {wish} {delivery} {attempt}")
    if attempt > MOST_FAULTS or chance.random() >= SHARE_OF_FAULTS:
        return None
    return chance.choice(FAULTS)


def mail_fault_of(seed: int, delivery: str, attempt: int) -> str | None:
    """The trouble that an attempt to hand a mail over meets: one of `MAIL_FAULTS`."""
    chance = random.Random(f"{seed} mail {delivery} {attempt}")
    if attempt > MOST_FAULTS or chance.random() >= SHARE_OF_MAIL_FAULTS:
        return None
    return chance.choice(sorted(MAIL_FAULTS))


def broker_faults(seed: int, sent: Sequence[Told]) -> dict[int, str | None]:
    """Before which event the broker begins to fail the subscriber's topic, and before which it is well (None).

    Each begins with an event for the topic, so that it meets one; the first in the first third, the second in the last.
    """
    chance = random.Random(f"{seed} broker")
    wish = next(wish for wish in WISHES if wish.channel == "kafka")
    third = len(sent) // 3
    plan: dict[int, str | None] = {}
    for fault, first in zip(BROKER_FAULTS, (0, 2 * third), strict=True):
        earliest = first + chance.randrange(max(1, third - 2 * BROKER_FAULT_EVENTS))
        begin = next((place for place in range(earliest, len(sent)) if wish.wants(sent[place])), None)
        if begin is not None:
            plan[begin] = fault
            plan[begin + BROKER_FAULT_EVENTS] = None
    return plan


@dataclass(frozen=True)
class Arrival:
    """What a receiver took: the event's number, and the delivery's id where its channel tells it."""

    number: int
    delivery: str | None
    verified: bool = True


@dataclass(frozen=True)
class Violation:
    """What does not hold, and for which subscription."""

    wish: str
    what: str


@dataclass(frozen=True)
class Row:
    """A subscription's counts. `again`: arrivals of what had arrived, under the id that it had."""

    wish: Wish
    wanted: int
    arrived: int
    again: int
    faults: int


def judge(
    sent: Sequence[Told], arrivals: Mapping[str, Sequence[Arrival]], faults: Mapping[str, int]
) -> tuple[list[Row], list[Violation]]:
    """Each subscription got each event that it wants under one id, and none that it does not want."""
    rows, bad = [], []
    for wish in WISHES:
        came = arrivals.get(wish.name, ())
        wanted = {event.number for event in sent if wish.wants(event)}
        numbers = {one.number for one in came}
        if wish.goes is None:
            bad += [Violation(wish.name, f"event {number} is missing") for number in sorted(wanted - numbers)]
        bad += [Violation(wish.name, f"event {number} does not match") for number in sorted(numbers - wanted)]
        ids, of = defaultdict(set), defaultdict(set)
        for one in came:
            if not one.verified:
                bad.append(Violation(wish.name, f"event {one.number} has no right signature"))
            if one.delivery is not None:
                ids[one.number].add(one.delivery)
                of[one.delivery].add(one.number)
        bad += [
            Violation(wish.name, f"event {n} came under {sorted(found)}") for n, found in ids.items() if len(found) > 1
        ]
        bad += [Violation(wish.name, f"{name} told of {sorted(found)}") for name, found in of.items() if len(found) > 1]
        rows.append(Row(wish, len(wanted), len(numbers), len(came) - len(numbers), faults.get(wish.name, 0)))
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for name, came in arrivals.items():
        for one in came:
            if one.delivery is not None:
                owners[one.delivery].add(name)
    bad += [Violation(min(names), f"{one} went to {sorted(names)}") for one, names in owners.items() if len(names) > 1]
    return rows, bad
