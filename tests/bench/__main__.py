"""`python -m tests.bench [--only NAME] [--out FILE]`: run benchmarks, one after the other, and print JSON lines.

Each is a module of this package with `async def measure(report)`. Nothing is judged here: benchmarks measure.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
from pathlib import Path

import uvloop

from .report import Report

NAMES = ("latency", "throughput", "big_files", "command_line", "start", "idle", "growth", "endurance")
LONG = ("growth", "endurance")
"""Run only when they are named: together they take longer than everything else."""


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure Muniment on this machine.",
        epilog=f"Without --only everything but {' and '.join(LONG)} is run: those take up to an hour each.",
    )
    parser.add_argument("--only", choices=NAMES, action="append", help="run this one (may be given again)")
    parser.add_argument("--out", type=Path, help="append the JSON lines to this file, too")
    parser.add_argument("--seconds", type=float, help="how long to measure, where a benchmark runs for a time")
    parser.add_argument("--count", type=int, help="how many publications, where a benchmark makes a number of them")
    parser.add_argument("--gib", type=float, action="append", help="a size for big_files, instead of 1 and 8")
    parser.add_argument("--files", type=int, action="append", help="in how many files, instead of 1 and 64")
    options = parser.parse_args()
    with (options.out or Path("/dev/null")).open("a") as kept:
        report = Report(kept)
        report.machine()
        for name in options.only or (name for name in NAMES if name not in LONG):
            measure = importlib.import_module(f"tests.bench.{name}").measure
            taken = inspect.signature(measure).parameters
            given = {name: getattr(options, name) for name in ("seconds", "count", "gib", "files")}
            uvloop.run(measure(report, **{key: value for key, value in given.items() if value and key in taken}))


if __name__ == "__main__":
    main()
