"""Child processes of the embedded parts: started through the guard, waited for, stopped in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from muniment.server.parts.errors import PartError

GUARD = Path(__file__).with_name("guard.py")
TAIL_BYTES = 4096
KILL_MARGIN = 5.0
POLL_SECONDS = 0.03


@dataclass(frozen=True)
class Command:
    """What to run. `name` begins with the part's name; `grace` is the seconds between `stop_signal` and SIGKILL."""

    name: str
    argv: Sequence[str | Path]
    log: Path
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 5.0

    @property
    def part(self) -> str:
        return self.name.partition("-")[0]


@dataclass(frozen=True)
class Process:
    """A running child. `exited` becomes its exit code (negative: the signal that ended it)."""

    command: Command
    pid: int
    exited: asyncio.Future[int]
    log_start: int

    def log_tail(self) -> str:
        """The last lines this process wrote, at most 4 KiB."""
        try:
            with self.command.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self.log_start if self.log_start <= size else 0, size - TAIL_BYTES))
                return log.read().decode(errors="replace").strip()
        except OSError as error:
            return f"({self.command.log}: {error})"

    def died(self) -> PartError:
        """The error that says how this process ended; only once it has."""
        return PartError(
            self.command.part,
            "part_exited",
            f"{self.command.name} (process {self.pid}) ended by itself",
            expected="a running process",
            actual=_ending(self.exited.result()),
            hint=f"its whole log is {self.command.log}",
            log=self.log_tail(),
        )

    async def until(self, ready: Callable[[], Awaitable[bool]], *, timeout: float) -> None:
        """Wait until `ready()` is true, asking again and again. An `OSError` from it means "not yet".

        Raises `PartError` (`part_exited`, `part_not_ready`) with the last lines of the log.
        """
        last: OSError | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self.exited.done():
                    try:
                        if await ready():
                            return
                    except OSError as error:
                        last = error
                    await asyncio.sleep(POLL_SECONDS)
        if self.exited.done():
            raise self.died()
        raise PartError(
            self.command.part,
            "part_not_ready",
            f"{self.command.name} (process {self.pid}) runs but does not answer",
            expected=f"an answer within {timeout:.0f} s",
            actual=last or "no answer",
            hint=f"its whole log is {self.command.log}",
            log=self.log_tail(),
        ) from last


class Guard:
    """Starts and stops children through the guard process (see guard.py for the protocol)."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._starting: dict[str, _Start] = {}
        self._running: dict[str, Process] = {}

    async def spawn(self, command: Command) -> Process:
        """Start a child. Raises `PartError` (`part_not_started`) when the system refuses."""
        log_start = command.log.stat().st_size if command.log.exists() else 0
        start = self._starting[command.name] = _Start(command, log_start)
        await self._send(
            op="spawn",
            name=command.name,
            argv=[str(word) for word in command.argv],
            cwd=str(command.cwd),
            env=dict(command.env),
            log=str(command.log),
            signal=int(command.stop_signal),
            grace=command.grace,
        )
        try:
            return await start.done
        except OSError as error:
            raise PartError(
                command.part, "part_not_started", f"{command.argv[0]} could not be started", actual=error
            ) from error

    async def run(self, command: Command, *, timeout: float) -> None:
        """Run a child to its end. Raises `PartError` when that is not a success within `timeout` seconds."""
        process = await self.spawn(command)
        code: int | str
        try:
            code = await asyncio.wait_for(asyncio.shield(process.exited), timeout)
        except TimeoutError:
            await self.stop(process)
            code = f"still running after {timeout:.0f} s"
        if code != 0:
            raise PartError(
                command.part,
                "part_setup_failed",
                f"{command.name} failed",
                expected="exit code 0",
                actual=code,
                log=process.log_tail(),
            )

    async def stop(self, process: Process) -> None:
        """Stop a child as it wants to be stopped; after its grace the guard kills it."""
        if not process.exited.done():
            await self._send(op="stop", name=process.command.name)
            async with asyncio.timeout(process.command.grace + KILL_MARGIN):
                await asyncio.shield(process.exited)

    async def _send(self, **command: object) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - created with a pipe, see start_guard
        stdin.write(json.dumps(command).encode() + b"\n")
        try:
            await stdin.drain()
        except ConnectionError as error:
            raise PartError("data", "guard_lost", "the process that guards the parts is gone") from error

    async def listen(self) -> None:
        """Take in the guard's events until it leaves; then nothing it owned is counted as running."""
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - created with a pipe, see start_guard
        while line := await stdout.readline():
            self._take(json.loads(line))
        for start in self._starting.values():
            if not start.done.done():
                start.done.set_exception(OSError("the process that guards the parts is gone"))
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.exited.set_result(-signal.SIGKILL)

    def _take(self, event: dict[str, Any]) -> None:
        name = event["name"]
        if event["event"] == "exited":
            self._running.pop(name).exited.set_result(event["code"])
            return
        start = self._starting.pop(name)
        if event["event"] == "spawned":
            process = self._running[name] = start.process(event["pid"])
            if not start.done.done():  # done already: the caller was cancelled
                start.done.set_result(process)
        elif not start.done.done():
            start.done.set_exception(OSError(event["error"]))


class _Start:
    """A child that has been asked for and not yet been reported."""

    def __init__(self, command: Command, log_start: int) -> None:
        self.command = command
        self.log_start = log_start
        self.done: asyncio.Future[Process] = asyncio.get_running_loop().create_future()

    def process(self, pid: int) -> Process:
        return Process(self.command, pid, asyncio.get_running_loop().create_future(), self.log_start)


@asynccontextmanager
async def start_guard(lock_fd: int, *, patience: float = 30.0) -> AsyncIterator[Guard]:
    """Run the guard for as long as the block lasts; whatever it still owns at the end is stopped by it.

    `lock_fd` is the flocked file that guard and children hold. `patience` bounds the wait for the guard to leave.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(GUARD), str(lock_fd)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        pass_fds=(lock_fd,),
        start_new_session=True,
    )
    guard = Guard(process)
    listening = asyncio.create_task(guard.listen())
    try:
        yield guard
    finally:
        assert process.stdin is not None  # noqa: S101 - created with a pipe above
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), patience)
        await listening


def plain_environment(**more: str) -> dict[str, str]:
    """An environment for a child: nothing of ours but where programs are, so no setting or secret leaks into it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "TZ": "UTC", **more}


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"ended by {signal.Signals(-code).name}"
    return f"ended by signal {-code}"
