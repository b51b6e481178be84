"""What processes use: processor seconds and memory, part by part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import psutil

PARTS: Final = {"java": "kafka", "postgres": "postgres", "weed": "s3"}
"""Program names of the embedded parts, and what they are."""


def family(pid: int) -> dict[str, list[psutil.Process]]:
    """A `muniment up` and its children: `services`, `kafka`, `postgres`, `s3`, `guard`."""
    root = psutil.Process(pid)
    found: dict[str, list[psutil.Process]] = {"services": [root]}
    for child in root.children(recursive=True):
        try:
            found.setdefault(PARTS.get(child.name(), "guard"), []).append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """User and system time since they began; those that have ended count what their parent has waited for."""
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def memory_mib(processes: Iterable[psutil.Process], *, shared_once: bool = False) -> float:
    """Resident memory; with `shared_once` each shared page is divided among those that map it (PSS)."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss if shared_once else process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


@dataclass
class Watched:
    """The highest and lowest memory seen while watching, MiB."""

    samples: list[float] = field(default_factory=list)

    @property
    def peak(self) -> float:
        """The highest."""
        return max(self.samples)

    @property
    def rise(self) -> float:
        """From the first sample to the highest."""
        return max(self.samples) - self.samples[0]


@asynccontextmanager
async def watching(processes: list[psutil.Process], every_s: float = 0.2) -> AsyncIterator[Watched]:
    """Sample the memory of processes until the block ends."""
    seen = Watched([memory_mib(processes)])

    async def sample() -> None:
        while True:
            await asyncio.sleep(every_s)
            seen.samples.append(memory_mib(processes))

    task = asyncio.create_task(sample())
    try:
        yield seen
    finally:
        task.cancel()
        seen.samples.append(memory_mib(processes))
