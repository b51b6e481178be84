"""`muniment-verify bundle` of an exported log of a million entries, from cold, on one core, in a process of its own.

The log is a folder as it is exported (tlog-tiles), entries of 600 bytes, written by the tests' own slow tree and not by
the writer. Before each round its files are taken out of the page cache, as far as the system lets a process do that.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.unit.verifier.naive import Signer, entry, write_log

from .report import Report, quantile

ENTRIES = 1_000_000
_PROGRAM = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
from muniment.verifier.main import main
code = main(sys.argv[2:])
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak, file=sys.stderr)
sys.exit(code)
"""
"""On one core; its own peak of memory in KiB at the end. What `wait4` tells would include this process, forked."""
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_PADDING = "x" * 420


async def measure(report: Report, *, entries: int = ENTRIES, rounds: int = 3) -> None:
    """Write the log, then verify it so many times."""
    with tempfile.TemporaryDirectory(prefix="muniment-verify-") as name:
        folder, key = Path(name), Signer()
        report.say(f"audit_verify: writing {entries} entries")
        await asyncio.to_thread(_write, folder, entries, key)
        seconds, peaks = [], []
        for number in range(rounds):
            report.say(f"audit_verify: round {number + 1} of {rounds}")
            taken, peak = await asyncio.to_thread(_verify, folder, entries, key)
            seconds.append(taken)
            peaks.append(peak)
    report.add("audit_verify_1m_s", quantile(seconds, 50), "s", entries=entries, n=rounds, cores=1)
    report.add("audit_verify_1m_rss_mib", max(peaks), "MiB", entries=entries, n=rounds)


def _write(folder: Path, entries: int, key: Signer) -> None:
    write_log(folder, [_entry(index) for index in range(entries)], key)


def _entry(index: int) -> bytes:
    moment = _BEGAN + timedelta(seconds=index)
    return entry(index, log_time=moment.strftime("%Y-%m-%dT%H:%M:%SZ"), reason=_PADDING)


def _verify(folder: Path, entries: int, key: Signer) -> tuple[float, float]:
    """Seconds, and MiB at the peak. Raises `RuntimeError` if it did not agree with all of it."""
    os.sync()
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    core = min(os.sched_getaffinity(0))
    words = [sys.executable, "-c", _PROGRAM, str(core), "bundle", str(folder), "--key", key.vkey, "--json"]
    began = time.perf_counter()
    done = subprocess.run(words, capture_output=True, check=False, timeout=600)
    taken = time.perf_counter() - began
    found: dict[str, Any] = json.loads(done.stdout)
    if done.returncode != 0 or not found["ok"] or found["entries"] != entries:
        raise RuntimeError(f"the log was not verified: {done.stdout[:500]!r}")
    return taken, int(done.stderr.split()[-1]) / 1024
