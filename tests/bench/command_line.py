"""The command as whole processes on a warm stack: a fresh interpreter for each run, from its start to its exit.

`cli_help_s` is `muniment --help`; `cli_publish_1mib_s` is `publish --wait` of 1 MiB of fresh random bytes;
`cli_versions_ls_s` and `cli_download_1mib_s` read what was published. Medians; `_p90` beside each. The commands are
interleaved, and the first round, which warms, is not counted.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from .report import Report, quantile
from .stack import COMMAND, running

SIZE = 2**20


async def measure(report: Report, *, runs: int = 15) -> None:
    """Run each command `runs` times."""
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="muniment-bench-files-") as place:
        folder = Path(place)
        async with running() as stack:
            environment = {**stack.environment, "XDG_CACHE_HOME": str(folder / "cache")}
            for number in range(runs + 1):
                source = folder / f"model-{number}.bin"
                source.write_bytes(os.urandom(SIZE))
                commands = {
                    "help": ("--help",),
                    "publish_1mib": ("publish", str(source), "--model", "bench", "--wait"),
                    "versions_ls": ("versions", "ls", "bench"),
                    "download_1mib": ("download", "bench@main", str(folder / f"down-{number}")),
                }
                for name, words in commands.items():
                    seconds = await _run(words, environment)
                    if number:
                        taken.setdefault(name, []).append(seconds)
    for name, seconds_of in taken.items():
        report.add(f"cli_{name}_s", quantile(seconds_of, 50), "s", n=runs)
        report.add(f"cli_{name}_s_p90", quantile(seconds_of, 90), "s", n=runs)


async def _run(words: tuple[str, ...], environment: dict[str, str]) -> float:
    """Seconds of one command; raises where it fails."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *words, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        _, said = await process.communicate()
    taken = time.perf_counter() - began
    if process.returncode:
        print(said.decode(errors="replace"), file=sys.stderr)
        raise RuntimeError(f"muniment {' '.join(words)} ended with {process.returncode}")
    return taken
