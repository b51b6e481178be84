"""Waiting on processes, and a small log folder for children that are not parts."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from muniment.server.parts.datadir import DataDir, open_data_dir
from muniment.server.parts.process import Command, Guard, start_guard

Wait = Callable[[Callable[[], bool]], Awaitable[None]]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not reaped yet does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.fixture
def alive() -> Callable[[int], bool]:
    return is_alive


@pytest.fixture
def until() -> Wait:
    """Wait for a condition, at most 40 s."""

    async def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 40
        while not condition():
            assert time.monotonic() < deadline, f"still not so after 40 s: {condition}"
            await asyncio.sleep(0.02)

    return wait


@pytest.fixture
async def data(tmp_path: Path) -> AsyncIterator[DataDir]:
    async with open_data_dir(tmp_path / "data", lambda _: None) as opened:
        yield opened


@pytest.fixture
async def guard(data: DataDir) -> AsyncIterator[Guard]:
    async with start_guard(data.lock_fd) as started:
        yield started


@pytest.fixture
def python(data: DataDir) -> Callable[..., Command]:
    """A command that runs a line of Python."""

    def command(code: str, name: str = "toy", grace: float = 10.0) -> Command:
        argv = [sys.executable, "-I", "-S", "-c", code]
        return Command(name, argv, data.log("toy"), data.root, grace=grace)

    return command
