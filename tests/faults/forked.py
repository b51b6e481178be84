"""Processes of ours that begin where a started one has loaded its code: forked from a process that did only that.

Loading takes most of a start's time, and the suite starts some eighty processes. From there on all is as in `muniment
run`: the same command line in a process of its own, with its own environment, log and signals. `make faults` and the
programs (`make chaos`, ...) start the command itself, and so does tests/e2e.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_LOADED = ["tests.faults.forked_code"]


class Forked:
    """As much of `asyncio.subprocess.Process` as a replica needs."""

    def __init__(self, process: ForkServerProcess, stdout: asyncio.StreamReader) -> None:
        assert process.pid is not None
        self.pid = process.pid
        self.stdout = stdout
        self._process = process

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    async def wait(self) -> int:
        """Wait until it has ended; the exit code."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        if self.returncode is None:
            # A copy: several may wait at once, and a loop watches a descriptor for one.
            watched = os.dup(self._process.sentinel)
            loop.add_reader(watched, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(watched)
                os.close(watched)
        code = self.returncode
        assert code is not None
        return code


async def launch(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Forked:
    """`muniment ARGUMENTS` with this environment and nothing else in it; what it writes to stderr goes to `log`."""
    _CONTEXT.set_forkserver_preload(_LOADED)
    ours, theirs = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_main, args=(list(arguments), dict(environment), log, theirs), daemon=True)
    process.start()
    theirs.close()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(ours.fileno()), "rb", 0)
    )
    ours.close()
    return Forked(process, reader)


def _main(arguments: list[str], environment: dict[str, str], log: Path, stdout: Connection) -> None:
    """What runs in the new process."""
    os.environ.clear()
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    os.dup2(stdout.fileno(), 1)
    stdout.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from muniment.cli.main import main

    code = main(arguments)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    sys.exit(code)
