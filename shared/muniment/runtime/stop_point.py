"""Named places where a debug setting (`MUNIMENT_STOP_AT`) makes the process kill itself, to test what a crash leaves.

Each place is one line in the code that it is about: `reached("registry.locked")`.
"""

from __future__ import annotations

import os
import signal

_stop_at: str | None = None


def configure(name: str | None) -> None:
    """Set the place where this process ends, or None for nowhere."""
    global _stop_at  # reason: one process, one place
    _stop_at = name


def reached(name: str) -> None:
    """End the process here with SIGKILL if this is the configured place: nothing is flushed, closed or told."""
    if name == _stop_at:
        os.kill(os.getpid(), signal.SIGKILL)
