"""Whole processes, started and killed as people and machines do, and seen through the command line alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-m", "muniment.cli")
QUICK = {
    "MUNIMENT_REGISTRY__PRODUCTION__RETENTION_S": "60",
    "MUNIMENT_REGISTRY__EXPERIMENTAL__RETENTION_S": "30",
    "MUNIMENT_REGISTRY__RETENTION_MARGIN_S": "1",
    "MUNIMENT_VALIDATOR__LEASE_S": "2",
    "MUNIMENT_DELIVERY__RETRY_SCALE": "0.05",
    "MUNIMENT_LOG_FORMAT": "json",
}


@dataclass
class Server:
    """A running `muniment up` or `muniment run`."""

    process: asyncio.subprocess.Process
    url: str
    log: Path

    async def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        async with asyncio.timeout(60):
            return await self.process.wait()

    async def ended(self) -> int:
        """Wait for it to end by itself."""
        async with asyncio.timeout(60):
            return await self.process.wait()


async def start(*arguments: str, log: Path, **environment: str) -> Server:
    """Start a server and wait until it prints `ready URL`; fails with its log where it ends instead."""
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={**_clean(), **QUICK, **environment},
        )
    assert process.stdout is not None
    async with asyncio.timeout(120):
        while line := await process.stdout.readline():
            if line.startswith(b"ready "):
                return Server(process, line.split()[1].decode(), log)
    raise AssertionError(f"{arguments} ended with {await process.wait()}:\n{log.read_text()[-3000:]}")


@contextlib.asynccontextmanager
async def server(*arguments: str, log: Path, **environment: str) -> AsyncIterator[Server]:
    """A server until the end of the block, killed if it did not stop before."""
    running = await start(*arguments, log=log, **environment)
    try:
        yield running
    finally:
        if running.process.returncode is None:
            with contextlib.suppress(TimeoutError):
                await running.stop()
        if running.process.returncode is None:
            running.process.send_signal(signal.SIGKILL)
            await running.process.wait()


async def muniment(*arguments: str, expect: int = 0, **environment: str) -> Any:
    """Run the command line with --json; returns the document (or the list of lines)."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        "--json",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**_clean(), **environment},
    )
    async with asyncio.timeout(90):
        out, err = await process.communicate()
    assert process.returncode == expect, f"{arguments} -> {process.returncode}\n{out.decode()}\n{err.decode()}"
    lines = [json.loads(line) for line in out.splitlines()]
    return lines[0] if len(lines) == 1 else lines


def run_folder(folder: Path, size: int = 1000) -> Path:
    """A folder to publish, of about `size` bytes."""
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(os.urandom(size))
    (folder / "config.json").write_text('{"layers": 2}')
    return folder


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MUNIMENT_")}
