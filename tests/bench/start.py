"""From the start of `muniment up` to its `ready`, and from SIGTERM to its end.

`stack_start_cold_s` is on a fresh data folder with the parts' programs already downloaded; `stack_start_warm_s` the
median of further starts on the same folder. The interpreter's own start is within.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from .report import Report, quantile
from .stack import running


async def measure(report: Report, *, warm: int = 5) -> None:
    """One cold start, then `warm` more."""
    starts: list[float] = []
    stops: list[float] = []
    with tempfile.TemporaryDirectory(prefix="muniment-bench-start-") as place:
        for _ in range(warm + 1):
            async with running(Path(place)) as stack:
                starts.append(stack.start_s)
                leaving = time.perf_counter()
            stops.append(time.perf_counter() - leaving)
    report.add("stack_start_cold_s", starts[0], "s", n=1)
    report.add("stack_start_warm_s", quantile(starts[1:], 50), "s", n=warm)
    report.add("stack_start_warm_s_max", max(starts[1:]), "s", n=warm)
    report.add("stack_stop_s", quantile(stops, 50), "s", n=len(stops))
