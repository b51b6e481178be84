"""Named places where a debug setting (`MUNIMENT_STOP_AT`) makes the process kill itself, to test what a crash leaves.

Each place is one line in the code that it is about: `reached("registry.locked")`. `STEP#n` means the n-th time that the
process comes by: under load the first time is seldom the interesting one.
"""

from __future__ import annotations

import os
import signal

_stop_at: str | None = None
_passes_left = 0


def configure(name: str | None) -> None:
    """Set the place where this process ends (`STEP` or `STEP#n`, n >= 1), or None. Raises `ValueError`."""
    global _stop_at, _passes_left  # reason: one process, one place
    step, marked, count = (name or "").partition("#")
    passes = int(count) if marked else 1
    if passes < 1:
        raise ValueError(f"{name}: the count after # begins with 1")
    _stop_at, _passes_left = step or None, passes


def reached(name: str) -> None:
    """End the process here with SIGKILL if this is the configured place: nothing is flushed, closed or told."""
    global _passes_left  # reason: as above
    if name == _stop_at:
        _passes_left -= 1
        if _passes_left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
