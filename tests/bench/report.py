"""What a benchmark says: JSON lines on stdout, one a figure, and the machine first."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any


@dataclass
class Report:
    """Collects the figures of a run. `kept` gets the same lines as stdout."""

    kept: IO[str] | None = None
    figures: dict[str, float] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """A line for the person who waits."""
        print(f"# {text}", file=sys.stderr, flush=True)

    def line(self, fields: dict[str, Any]) -> None:
        """One JSON line."""
        text = json.dumps(fields)
        print(text, flush=True)
        if self.kept is not None:
            print(text, file=self.kept, flush=True)

    def add(self, metric: str, value: float, unit: str, **conditions: Any) -> None:
        """One figure. `conditions` say what it was measured under."""
        rounded = float(f"{value:.4g}")
        self.figures[metric] = rounded
        self.line({"metric": metric, "value": rounded, "unit": unit, **conditions})

    def quantiles(self, stem: str, seconds: Sequence[float], points: Sequence[int] = (50, 95, 99), **more: Any) -> None:
        """`{stem}_ms_p50` and so on of some durations."""
        for point in points:
            self.add(f"{stem}_ms_p{point}", quantile(seconds, point) * 1000, "ms", n=len(seconds), **more)

    def machine(self) -> None:
        """Where and on what this is measured."""
        self.line(
            {
                "machine": _cpu_model(),
                "cores": os.cpu_count(),
                "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
                "kernel": platform.release(),
                "python": platform.python_version(),
                "versions": {name: version(name) for name in ("muniment", "aiokafka", "asyncpg", "faststream")},
                "commit": _commit(),
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )


def quantile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank quantile. NaN of nothing."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    here = Path(__file__).parent
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
