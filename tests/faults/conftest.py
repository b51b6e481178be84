"""One seed for the session."""

from __future__ import annotations

import os
import random

import pytest


@pytest.fixture(scope="session")
def seed() -> int:
    """`MUNIMENT_FAULT_SEED` replays a run."""
    return int(os.environ.get("MUNIMENT_FAULT_SEED") or "0") or random.randrange(1, 1_000_000)
