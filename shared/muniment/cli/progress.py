"""Progress on stderr: one line in place on a terminal, one line a stage elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self, TextIO

from muniment.cli.text import duration, printable, size

if TYPE_CHECKING:
    from muniment.sdk.transfer.progress import Progress

_EVERY_S: Final = 0.1


class ProgressLine:
    """A callback for the SDK. Use it with `with`, so that the line is finished whatever happens."""

    def __init__(self, stream: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream or sys.stderr
        self._in_place = self._stream.isatty()
        self._clock = clock
        self._last: Progress | None = None
        self._started = 0.0
        self._moved = 0.0
        self._base = 0
        self._drawn = float("-inf")
        self._printed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, progress: Progress) -> None:
        """Take note of how far a stage is."""
        now = self._clock()
        if self._last is None or self._last.stage != progress.stage:
            self._close()
            self._started = now
            self._base = 0 if progress.stage != "validate" else progress.bytes_done
        self._last, self._moved = progress, now
        self._printed = False
        if self._in_place and now - self._drawn >= _EVERY_S:
            self._drawn = now
            import shutil  # on terminals only

            width = shutil.get_terminal_size().columns - 1
            self._stream.write("\r\x1b[2K" + self._line(progress, now)[:width])
            self._stream.flush()

    def _close(self) -> None:
        last = self._last
        if last is None or self._printed:
            return
        taken = max(self._moved - self._started, 1e-9)  # to the last byte, not to what came after it
        moved = last.bytes_done - self._base
        text = f"{last.stage:<9} {size(last.bytes_done)}"
        if moved and taken >= 0.001:  # a remembered digest takes no time
            text += f" in {duration(taken)} ({size(moved / taken)}/s)"
        if last.bytes_done < last.bytes_total:
            text = f"{last.stage:<9} {size(last.bytes_done)} of {size(last.bytes_total)} in {duration(taken)}"
        self._stream.write(f"\r\x1b[2K{text}\n" if self._in_place else f"{text}\n")
        self._stream.flush()
        self._printed = True
        self._drawn = float("-inf")

    def _line(self, progress: Progress, now: float) -> str:
        done, total = progress.bytes_done, progress.bytes_total
        taken = now - self._started
        rate = (done - self._base) / taken if taken > 0 else 0.0
        parts = [
            f"{progress.stage:<9}",
            f"{size(done)} / {size(total)}",
            f"{100 * done / total:.0f}%" if total else "",
            f"{size(rate)}/s" if rate > 0 else "",
            f"ETA {duration((total - done) / rate)}" if rate > 0 and total > done else "",
            printable(progress.file or ""),
        ]
        return "  ".join(part for part in parts if part)
