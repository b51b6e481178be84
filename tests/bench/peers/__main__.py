"""`python -m tests.bench.peers`: Muniment and MLflow, one after the other in one run: JSON lines, then a table."""

from __future__ import annotations

import argparse
import importlib
import inspect
import tempfile
from pathlib import Path
from typing import Any

import uvloop

from ..__main__ import NAMES
from ..report import Report
from ..tables import figures_table, read
from . import figures
from .server import PYTHON

OURS = ("start", "idle", "command_line", "latency", "throughput", "big_files")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("--out", type=Path, help="append the JSON lines to this file, too")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each throughput run")
    parser.add_argument("--count", type=int, default=500, help="publications of the latency run")
    parser.add_argument("--big-gib", type=int, action="append", help="sizes of big files (may be given again; 0: none)")
    parser.add_argument("--peer-alone", action="store_true", help="measure MLflow alone")
    options = parser.parse_args()
    if not PYTHON.exists():
        parser.error("MLflow is not installed: `make bench-peers` does it")
    sizes = tuple(size for size in options.big_gib or (1,) if size)
    with tempfile.TemporaryFile("w+") as lines:
        report = Report(lines)
        report.machine()
        try:
            if not options.peer_alone:
                asked = {"seconds": options.seconds, "count": options.count, "sizes_gib": sizes}
                for name in (name for name in OURS if name in NAMES):
                    module = importlib.import_module(f"tests.bench.{name}")
                    uvloop.run(module.measure(report, **_taken(module.measure, asked)))
            uvloop.run(figures.measure(report, figures.Plan(options.count, options.seconds, sizes)))
        finally:
            lines.seek(0)
            text = lines.read()
            if options.out:
                with options.out.open("a") as kept:
                    kept.write(text)
    print("\n" + figures_table(read([text])))


def _taken(measure: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that this benchmark knows."""
    return {name: value for name, value in asked.items() if name in inspect.signature(measure).parameters}


if __name__ == "__main__":
    main()
