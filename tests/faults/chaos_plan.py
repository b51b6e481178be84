"""Which faults a run of chaos is made of: a pure function of its seed and length."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from .single import PAUSE_S, SERVICES, STEPS

Item = TypeVar("Item")
Lane = Literal["processes", "parts"]

REPLICAS = 2
LONGEST_S = 6.0
"""Of what befalls a part."""


@dataclass(frozen=True)
class Fault:
    """One fault. `gap_s` after the one before in its lane it begins, and it lasts `hold_s` where its kind lasts."""

    lane: Lane
    kind: str
    target: str
    gap_s: float
    hold_s: float

    def __str__(self) -> str:
        return f"{self.kind} {self.target}" + (f" for {self.hold_s:.1f} s" if self.hold_s else "")


PROCESSES = ("kill", "kill at", "pause", "stop")
PARTS = (
    ("pause", "broker"),
    ("cut", "database"),
    ("black-hole", "database"),
    ("refuse", "database"),
    ("reset", "store"),
    ("slow", "store"),
    ("refuse", "store"),
)
COST_S = {"kill": 4.0, "kill at": 12.0, "pause": 0.5, "stop": 6.0}
"""What a fault of a process takes beside its gap and hold, about: restarts and the wait for the step."""


def plan(seed: int, seconds: float) -> tuple[Fault, ...]:
    """Two lanes that run side by side, each filled for `seconds`. No kind comes again before all of its lane have come."""
    return (*_processes(random.Random(f"{seed} processes"), seconds), *_parts(random.Random(f"{seed} parts"), seconds))


def _processes(chance: random.Random, seconds: float) -> Iterator[Fault]:
    kinds, services, steps = _dealt(chance, PROCESSES), _dealt(chance, SERVICES), _dealt(chance, STEPS)
    spent = 0.0
    while spent < seconds:
        kind = next(kinds)
        replica = f"{next(services)}-{chance.randrange(REPLICAS)}"
        hold = round(PAUSE_S + chance.uniform(0, 2), 1) if kind == "pause" else 0.0
        gap = round(chance.uniform(0.5, 3), 1)
        yield Fault("processes", kind, next(steps) if kind == "kill at" else replica, gap, hold)
        spent += gap + hold + COST_S[kind]


def _parts(chance: random.Random, seconds: float) -> Iterator[Fault]:
    kinds = _dealt(chance, PARTS)
    spent = 0.0
    while spent < seconds:
        kind, part = next(kinds)
        gap, hold = round(chance.uniform(3, 8), 1), round(chance.uniform(2, LONGEST_S), 1)
        yield Fault("parts", kind, part, gap, hold)
        spent += gap + hold


def _dealt(chance: random.Random, items: Sequence[Item]) -> Iterator[Item]:
    """All of them in a random order, again and again."""
    while True:
        yield from chance.sample(items, len(items))
