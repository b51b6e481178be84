"""`python -m tests.bench [--only NAME] [--out FILE]`: run benchmarks, one after the other, and print JSON lines.

Each is a module of this package with `async def measure(report)`. Nothing is judged here: benchmarks measure. All of
them together take about 40 minutes; what takes longer is run by its name alone.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
from pathlib import Path

import uvloop

from .report import Report
from .stack import end_in_order

ALONE = ("endurance",)
"""Run only when asked for by name."""
SHORTER: dict[str, dict[str, object]] = {"growth": {"sizes": ((0, 10_000), (100_000, 10_000)), "count": 50}}
"""What of a benchmark is left out when all are run."""
NAMES = (
    "latency",
    "throughput",
    "big_files",
    "command_line",
    "start",
    "idle",
    "history",
    "diff",
    "growth",
    "notifications",
    "audit_log",
    "audit_verify",
    "audit_cost",
    "streams",
    "isolation",
    "endurance",
)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure Muniment on this machine.",
        epilog=f"Without --only: everything but {' and '.join(ALONE)}, and {' and '.join(SHORTER)} up to 100,000 versions.",
    )
    parser.add_argument("--only", choices=NAMES, action="append", help="run this one (may be given again)")
    parser.add_argument("--out", type=Path, help="append the JSON lines to this file, too")
    parser.add_argument("--seconds", type=float, help="how long to measure, where a benchmark runs for a time")
    parser.add_argument("--count", type=int, help="how many publications, where a benchmark makes a number of them")
    parser.add_argument(
        "--gib", type=float, action="append", help="a size for big_files, instead of 1 and 8, and for diff"
    )
    parser.add_argument("--files", type=int, action="append", help="in how many files, instead of 1 and 64")
    options = parser.parse_args()
    end_in_order()
    with (options.out or Path("/dev/null")).open("a") as kept:
        report = Report(kept)
        report.machine()
        for name in options.only or (name for name in NAMES if name not in ALONE):
            measure = importlib.import_module(f"tests.bench.{name}").measure
            taken = inspect.signature(measure).parameters
            asked = {key: getattr(options, key) for key in ("seconds", "count", "gib", "files")}
            given = {key: value for key, value in asked.items() if value and key in taken}
            uvloop.run(measure(report, **({} if options.only else SHORTER.get(name, {})), **given))


if __name__ == "__main__":
    main()
