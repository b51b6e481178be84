"""One seed for the session, the same for each run of the suite, so that what holds a change up is the change; and starts
that do not load all code anew, but in `make faults`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from .forked import launch
from .replicas import Replica

EVERYTHING = os.environ.get("MUNIMENT_FAULTS") == "all"


@pytest.fixture(scope="session")
def seed() -> int:
    """`MUNIMENT_FAULT_SEED` replays a run; `make faults` takes another each time."""
    return int(os.environ.get("MUNIMENT_FAULT_SEED") or "0") or (random.randrange(1, 1_000_000) if EVERYTHING else 1)


@pytest.fixture(scope="session", autouse=True)
def quick_starts() -> Iterator[None]:
    """Replicas are forked from a process that has loaded their code."""
    with pytest.MonkeyPatch.context() as patch:
        if not EVERYTHING:
            patch.setattr(Replica, "launch", launch)
        yield
