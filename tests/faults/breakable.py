"""Real parts of which each can be killed and started again on the same data, at the same address."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from muniment.server.parts import KafkaSettings, Parts, S3Settings
from muniment.server.parts.datadir import open_data_dir
from muniment.server.parts.kafka import run_kafka
from muniment.server.parts.postgres import run_postgres
from muniment.server.parts.process import start_guard
from muniment.server.parts.s3 import run_s3

Run = Callable[[], AbstractAsyncContextManager[tuple[Any, Any]]]
GONE_S = 30.0


@dataclass
class Breakable:
    """What runs. `parts` stays as it is: whoever comes back has its port or socket of before."""

    runs: dict[str, Run]
    parts: Parts = field(init=False)
    pids: dict[str, int] = field(default_factory=dict)
    """The running process of each part."""
    _stacks: dict[str, AsyncExitStack] = field(default_factory=dict)

    async def start(self, part: str) -> Any:
        """Start a part (again); its endpoint."""
        stack = AsyncExitStack()
        endpoint, process = await stack.enter_async_context(self.runs[part]())
        self._stacks[part] = stack
        if part in self.pids:
            assert endpoint == getattr(self.parts, part), "it came back at another address"
        self.pids[part] = process.pid
        return endpoint

    async def kill(self, part: str) -> None:
        """SIGKILL its main process and wait until that and all its children are gone."""
        process = psutil.Process(self.pids[part])
        family = [process, *process.children(recursive=True)]
        process.send_signal(signal.SIGKILL)
        _, alive = await asyncio.to_thread(psutil.wait_procs, family, GONE_S)
        assert not alive, f"{part} did not die: {alive}"
        await self.stop(part)

    async def freeze(self, part: str) -> None:
        """SIGSTOP: it takes connections and answers nothing. Returns when it stands still."""
        os.kill(self.pids[part], signal.SIGSTOP)
        process = psutil.Process(self.pids[part])
        async with asyncio.timeout(GONE_S):
            while process.status() != psutil.STATUS_STOPPED:
                await asyncio.sleep(0.01)

    def thaw(self, part: str) -> None:
        """Let it go on."""
        os.kill(self.pids[part], signal.SIGCONT)

    async def stop(self, part: str) -> None:
        """Stop it in order, or notice that it is gone."""
        if (stack := self._stacks.pop(part, None)) is not None:
            await stack.aclose()


@asynccontextmanager
async def breakable_parts(folder: Path) -> AsyncIterator[Breakable]:
    """Start all three in a folder of their own; all are stopped at the end, dead and paused ones too."""
    async with open_data_dir(folder, _quiet) as data, start_guard(data.lock_fd) as guard:
        made = Breakable(
            {
                "kafka": lambda: run_kafka(KafkaSettings(), data, guard, _quiet),
                "postgres": lambda: run_postgres(data, guard, _quiet),
                "s3": lambda: run_s3(S3Settings(), data, guard, _quiet),
            }
        )
        async with AsyncExitStack() as stack:
            for part in made.runs:
                stack.push_async_callback(made.stop, part)
            started = await asyncio.gather(*(made.start(part) for part in made.runs))
            endpoints = dict(zip(made.runs, started, strict=True))
            made.parts = Parts(**endpoints, timings={}, pids=made.pids)
            yield made


def _quiet(_: str) -> None:
    return
