"""How far a transfer is, told to a callback."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Stage = Literal["hash", "upload", "validate", "download", "verify", "scrub"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes done of bytes in all, in one stage. `file` is the file that moved last, where one did."""

    stage: Stage
    bytes_done: int
    bytes_total: int
    file: str | None = None


OnProgress: TypeAlias = Callable[[Progress], None]
"""Called from the threads that move the bytes, one call at a time; it should return at once."""


class Meter:
    """Adds up what several threads move."""

    def __init__(self, stage: Stage, total: int, tell: OnProgress | None) -> None:
        self._stage = stage
        self._total = total
        self._tell = tell
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int, file: str | None = None) -> None:
        """Count bytes; a failed attempt takes its own back with a negative number."""
        with self._lock:
            self._done += count
            if self._tell is not None:
                self._tell(Progress(self._stage, self._done, self._total, file))
