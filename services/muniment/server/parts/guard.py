"""Owns the parts' processes, so that none outlives the process that asked for them.

A small program of its own (`python -I -S guard.py LOCK_FD`, standard library only). Its standard input is a pipe from
the process it works for. End of file there, for whatever reason, `kill -9` included, means: stop every child as it
wants to be stopped, kill what has not ended after its grace, and leave. Because the guard is the children's parent it
never signals a recycled process id, and no child can be started that it does not know of.

Commands, one JSON object a line on standard input:
    {"op": "spawn", "name", "argv", "cwd", "env", "log", "signal", "grace"}      {"op": "stop", "name"}
Events, one JSON object a line on standard output:
    {"event": "spawned", "name", "pid"}   {"event": "failed", "name", "error"}   {"event": "exited", "name", "code"}

LOCK_FD is an open, flocked file. Guard and children inherit it, so the lock is held as long as any of them lives.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time

TYPE_CHECKING = False  # typing itself would cost this process a megabyte
if TYPE_CHECKING:
    from typing import Any, BinaryIO

LOG_LIMIT = 8 * 2**20
LOG_KEPT = 2**20
LOG_CHECK_SECONDS = 30.0


class Child:
    def __init__(self, process: subprocess.Popen[bytes], command: dict[str, Any]) -> None:
        self.process = process
        self.name: str = command["name"]
        self.log: str = command["log"]
        self.stop_signal: int = command["signal"]
        self.grace: float = command["grace"]
        self.kill_at: float | None = None

    def stop(self) -> None:
        if self.kill_at is None:
            self.process.send_signal(self.stop_signal)
            self.kill_at = time.monotonic() + self.grace

    def kill_if_overdue(self) -> None:
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            with contextlib.suppress(ProcessLookupError):  # it ended between two looks
                os.killpg(self.process.pid, signal.SIGKILL)
            self.kill_at += 1.0


class Guard:
    def __init__(self, lock_fd: int) -> None:
        self.lock_fd = lock_fd
        self.children: dict[str, Child] = {}
        self.closing = False
        self.pending = b""

    def run(self, wakeup: int) -> None:
        selector = selectors.DefaultSelector()
        selector.register(0, selectors.EVENT_READ)
        selector.register(wakeup, selectors.EVENT_READ)
        while self.children or not self.closing:
            for key, _ in selector.select(self._patience()):
                if key.fd == 0:
                    if not self._read_commands():
                        selector.unregister(0)
                        self.close()
                elif any(number in (signal.SIGTERM, signal.SIGINT) for number in os.read(wakeup, 4096)):
                    self.close()
            self._look_after_children()

    def close(self) -> None:
        self.closing = True
        for child in self.children.values():
            child.stop()

    def _patience(self) -> float:
        deadlines = [child.kill_at for child in self.children.values() if child.kill_at is not None]
        return max(0.0, min(deadlines, default=time.monotonic() + LOG_CHECK_SECONDS) - time.monotonic())

    def _read_commands(self) -> bool:
        """Carry out the commands that have arrived; False at end of file."""
        data = os.read(0, 65536)
        *lines, self.pending = (self.pending + data).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))
        return bool(data)

    def _obey(self, command: dict[str, Any]) -> None:
        name = command["name"]
        if command["op"] == "stop":
            if name in self.children:
                self.children[name].stop()
        elif not self.closing:
            try:
                self.children[name] = child = self._spawn(command)
            except OSError as error:
                self._tell(event="failed", name=name, error=str(error))
            else:
                self._tell(event="spawned", name=name, pid=child.process.pid)

    def _spawn(self, command: dict[str, Any]) -> Child:
        with open(command["log"], "ab") as log:  # noqa: PTH123 - pathlib would cost this process 3 MB
            process = subprocess.Popen(
                command["argv"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=command["cwd"],
                env=command["env"],
                umask=0o077,
                pass_fds=(self.lock_fd,),
                # its own session: Ctrl-C in a terminal reaches the server, which then stops the parts in order
                start_new_session=True,
            )
        return Child(process, command)

    def _look_after_children(self) -> None:
        for child in list(self.children.values()):
            code = child.process.poll()
            if code is None:
                child.kill_if_overdue()
                trim(child.log)
            else:
                del self.children[child.name]
                self._tell(event="exited", name=child.name, code=code)

    def _tell(self, **event: object) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody is left to be told
            os.write(1, json.dumps(event).encode() + b"\n")


def trim(path: str, limit: int = LOG_LIMIT, kept: int = LOG_KEPT) -> None:
    """Keep a log file bounded: above `limit` bytes only its last `kept` stay, in `path`.1, and `path` starts anew.

    The writer has the file open for appending, so it goes on at the new end.
    """
    with contextlib.suppress(OSError), open(path, "r+b") as log:  # noqa: PTH123 - as above
        if log.seek(0, os.SEEK_END) > limit:
            log.seek(-kept, os.SEEK_END)
            with open(path + ".1", "wb") as old:  # noqa: PTH123 - as above
                _copy(log, old)
            log.truncate(0)


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    while block := source.read(65536):
        target.write(block)


def main() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # the number arrives through the wake-up pipe
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Guard(int(sys.argv[1])).run(reader)


if __name__ == "__main__":
    main()
