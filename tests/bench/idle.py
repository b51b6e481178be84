"""What a stack uses when nothing is asked of it: after some publications and a pause, for `seconds`.

Memory is resident memory at the end; processor use is a share of one core. Wake-ups are voluntary context switches
of the services' threads that are alive at both ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from muniment.contracts import topics

from .report import Report
from .stack import Stack, running
from .trainers import land, producer, send, watcher
from .usage import cpu_seconds, memory_mib


async def measure(report: Report, *, seconds: float = 60.0, warm_up: int = 200, settle_s: float = 10.0) -> None:
    """Publish `warm_up` versions of 4 KiB, let the stack settle, then watch it do nothing."""
    async with running() as stack:
        await publish(stack, warm_up, stem="idle")
        await asyncio.sleep(settle_s)
        cpu = {name: cpu_seconds(of) for name, of in stack.parts.items()}
        woken, began = _switches(stack.services), time.perf_counter()
        await asyncio.sleep(seconds)
        taken, woken_after = time.perf_counter() - began, _switches(stack.services)
        for name, of in stack.parts.items():
            report.add(f"{name}_idle_cpu_percent", (cpu_seconds(of) - cpu[name]) / taken * 100, "%", seconds=seconds)
            report.add(f"{name}_idle_rss_mib", memory_mib(of), "MiB", versions=warm_up)
        wakes = sum(count - woken[thread] for thread, count in woken_after.items() if thread in woken)
        report.add("services_idle_wakeups_per_s", wakes / taken, "1/s", seconds=seconds)
        for name, count in held(stack.services[0]).items():
            report.add(f"services_idle_{name}", count, "1")


async def publish(stack: Stack, count: int, *, stem: str, at_once: int = 32) -> None:
    """Publish `count` versions of 4 KiB by events; returns when all are available."""
    runs = await land(stack, (f"model-{number % 100}" for number in range(count)), 4096, stem=stem)
    slots = asyncio.Semaphore(at_once)
    async with producer(stack) as made, watcher(stack, [topics.VERSION_AVAILABLE]) as watching:

        async def one(number: int) -> None:
            async with slots:
                available = watching.expect(topics.VERSION_AVAILABLE, runs[number].publication_id)
                await send(made, runs[number])
                async with asyncio.timeout(60):
                    await available

        await asyncio.gather(*(one(number) for number in range(count)))


def held(process: psutil.Process) -> dict[str, float]:
    """Threads, sockets and file handles (sockets among them) of a process."""
    sockets = len(process.net_connections(kind="all"))
    return {"threads": process.num_threads(), "sockets": sockets, "file_handles": process.num_fds()}


def _switches(processes: Iterable[psutil.Process]) -> dict[int, int]:
    """Voluntary context switches so far, by thread."""
    found: dict[int, int] = {}
    for process in processes:
        for thread in process.threads():
            try:
                status = Path(f"/proc/{process.pid}/task/{thread.id}/status").read_text()
            except FileNotFoundError:
                continue
            found[thread.id] = int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
    return found
