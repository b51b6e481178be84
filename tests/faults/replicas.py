"""One replica of a service as a whole process, `muniment run SERVICE`, and what can be done to it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psutil

from tests.bench.stack import clean_environment

from .forked import Forked

COMMAND = (sys.executable, "-m", "muniment.cli")


@dataclass(frozen=True)
class Usage:
    """What a process holds: resident memory, and handles (files and sockets)."""

    rss_mib: float
    handles: int


@dataclass
class Replica:
    """A process that may be started, killed, paused and started again, with its own data folder and log."""

    service: str
    folder: Path
    environment: dict[str, str]
    url: str = ""
    process: asyncio.subprocess.Process | Forked | None = None
    launch: ClassVar[Callable[..., Awaitable[asyncio.subprocess.Process | Forked]]]
    """Starts a command line, with an environment and a log."""

    @property
    def name(self) -> str:
        """`SERVICE-NUMBER`."""
        return self.folder.name

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        assert self.process is not None
        return self.process.pid

    @property
    def runs(self) -> bool:
        """Whether it has been started and has not ended."""
        return self.process is not None and self.process.returncode is None

    @property
    def paused(self) -> bool:
        """Whether it stands still."""
        return stands_still(self.pid)

    def usage(self) -> Usage:
        """Of the running process."""
        process = psutil.Process(self.pid)
        return Usage(process.memory_info().rss / 2**20, process.num_fds())

    @property
    def log(self) -> str:
        """The end of what it has written."""
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    async def start(self, **more: str) -> None:
        """Start it and wait until it is ready; on its port of before. Fails with its log where it ends instead."""
        self.folder.mkdir(parents=True, exist_ok=True)
        address = self.url.removeprefix("http://") or "127.0.0.1:0"
        environment = {
            **clean_environment(),
            **self.environment,
            "MUNIMENT_DATA_DIR": str(self.folder),
            "MUNIMENT_KAFKA__INSTANCE": self.name,
            **more,
        }
        self.process = await Replica.launch(("run", self.service, "--http", address), environment, self.folder / "log")
        assert self.process.stdout is not None
        async with asyncio.timeout(90):
            while line := await self.process.stdout.readline():
                if line.startswith(b"ready "):
                    self.url = line.split()[1].decode()
                    return
        raise AssertionError(f"{self.service} ended with {await self.process.wait()}:\n{self.log}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the running process."""
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self, seconds: float = 30) -> int:
        """Wait until it has ended; the exit code (negative: the signal)."""
        assert self.process is not None
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    async def stop(self) -> None:
        """End it however it is: paused, running or gone."""
        if self.process is None or self.process.returncode is not None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            await self.ended(25)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.process.wait()


async def executed(
    arguments: Sequence[str], environment: Mapping[str, str], log: Path
) -> asyncio.subprocess.Process | Forked:
    """The command as anyone starts it."""
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *(*COMMAND, *arguments), stdout=asyncio.subprocess.PIPE, stderr=file, env=dict(environment)
        )


Replica.launch = executed


def stands_still(pid: int) -> bool:
    """Whether a process is stopped by a signal."""
    return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
