"""One seed for the session: the same for each run of the suite, so that what holds a change up is the change."""

from __future__ import annotations

import os
import random

import pytest

EVERYTHING = os.environ.get("MUNIMENT_FAULTS") == "all"


@pytest.fixture(scope="session")
def seed() -> int:
    """`MUNIMENT_FAULT_SEED` replays a run; `make faults` takes another each time."""
    return int(os.environ.get("MUNIMENT_FAULT_SEED") or "0") or (random.randrange(1, 1_000_000) if EVERYTHING else 1)
