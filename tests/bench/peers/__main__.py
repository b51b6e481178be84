"""`python -m tests.bench.peers`: Muniment and MLflow, one after the other in one run.

JSON lines on stdout: our figures, theirs with the prefix `mlflow_`, and `ratio_` of those that both have. A table on stderr.
The defaults take about six minutes; the full lengths of `make bench` are options.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import uvloop

from ..report import Report
from ..stack import end_in_order
from ..tables import figures_table, ratios, read
from . import figures, search
from .server import PYTHON

MAIN = ("latency", "throughput", "big_files")
MORE = ("start", "idle", "command_line")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("--out", type=Path, help="append the JSON lines to this file, too")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each throughput run (60 in `make bench`)")
    parser.add_argument("--count", type=int, default=100, help="publications of the latency run (500 in `make bench`)")
    parser.add_argument("--gib", type=float, action="append", help="size of big files (may be given again; 0: none)")
    parser.add_argument("--all", action="store_true", help="start, idle and command line, too")
    parser.add_argument("--peer-alone", action="store_true", help="measure MLflow alone")
    options = parser.parse_args()
    if not PYTHON.exists():
        parser.error("MLflow is not installed: `make bench-peers` does it")
    end_in_order()
    plan = figures.Plan(
        latency_count=options.count,
        seconds=options.seconds,
        big_gib=tuple(size for size in options.gib or (0.25,) if size),
        whole=options.all,
    )
    with tempfile.TemporaryFile("w+") as lines:
        report = Report(lines)
        try:
            report.machine(mlflow=_installed())
            if not options.peer_alone:
                asked: dict[str, dict[str, Any]] = {
                    "latency": {"count": plan.latency_count},
                    "throughput": {"seconds": plan.seconds},
                    "big_files": {"gib": plan.big_gib, "files": (1,), "rounds": 1},
                }
                for name in (*(MORE if plan.whole else ()), *MAIN):
                    module = importlib.import_module(f"tests.bench.{name}")
                    uvloop.run(module.measure(report, **asked.get(name, {})))
                uvloop.run(search.measure_ours(report))
            uvloop.run(figures.measure(report, plan))
            for name, value in ratios(report.figures).items():
                report.add(name, value, "x")
        finally:
            lines.seek(0)
            text = lines.read()
            if options.out:
                with options.out.open("a") as kept:
                    kept.write(text)
    print("\n" + figures_table(read([text])), file=sys.stderr)


def _installed() -> str:
    asked = "from importlib.metadata import version; print(version('mlflow'))"
    return subprocess.run([PYTHON, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
