"""What a part tells of its own pace, without knowing who listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Observe: TypeAlias = Callable[[str, float], None]
"""Takes the name of a step (few and fixed) and the seconds it took, failed or not."""


def unobserved(step: str, seconds: float) -> None:
    """Nobody listens."""


@contextmanager
def timed(observe: Observe, step: str) -> Iterator[None]:
    """Tell how long the block took."""
    began = time.perf_counter()
    try:
        yield
    finally:
        observe(step, time.perf_counter() - began)
