"""Starts the three parts side by side and stops them again: the one way in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

from muniment.server.parts.datadir import DataDir, open_data_dir
from muniment.server.parts.docker import docker_kafka, docker_postgres, docker_s3
from muniment.server.parts.endpoints import KafkaEndpoint, PostgresEndpoint, S3Endpoint
from muniment.server.parts.errors import PartError
from muniment.server.parts.external import external_kafka, external_postgres, external_s3
from muniment.server.parts.kafka import run_kafka
from muniment.server.parts.postgres import run_postgres
from muniment.server.parts.process import Guard, Process, start_guard
from muniment.server.parts.s3 import run_s3
from muniment.server.parts.settings import PartsSettings

Endpoint = TypeVar("Endpoint", KafkaEndpoint, PostgresEndpoint, S3Endpoint)
Progress = Callable[[str], None]
# A part as a context: where it is, and its process if it is a child of ours
Part = AbstractAsyncContextManager[tuple[Endpoint, Process | None]]


@dataclass(frozen=True)
class Parts:
    """Three parts that answer. `timings` are the seconds each took to get there."""

    kafka: KafkaEndpoint
    postgres: PostgresEndpoint
    s3: S3Endpoint
    timings: dict[str, float]
    pids: dict[str, int] = field(default_factory=dict)
    _failure: asyncio.Future[PartError] = field(default_factory=asyncio.Future, repr=False, compare=False)

    async def wait_failed(self) -> PartError:
        """Wait until an embedded part dies by itself; the error says which, how, and what it wrote last.

        Parts that are not our children are not watched: then this waits until it is cancelled.
        """
        return await asyncio.shield(self._failure)


@asynccontextmanager
async def start_parts(settings: PartsSettings, *, on_progress: Progress | None = None) -> AsyncIterator[Parts]:
    """Start Kafka, Postgres and the object store as `settings` say, and stop what was started when the block ends.

    Raises `PartError`; then nothing is left running. Stopping takes at most the longest grace (20 s): then it kills.
    """
    say = on_progress or (lambda _: None)
    async with AsyncExitStack() as stack:
        workshop: tuple[DataDir, Guard] | None = None
        if "embedded" in (settings.kafka.mode, settings.postgres.mode, settings.s3.mode):
            data = await stack.enter_async_context(open_data_dir(settings.data_dir, say))
            workshop = data, await stack.enter_async_context(start_guard(data.lock_fd))
        launch = _Launch()
        stack.push_async_callback(launch.stop)
        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                kafka = group.create_task(launch.start("kafka", _kafka(settings, workshop, say)))
                postgres = group.create_task(launch.start("postgres", _postgres(settings, workshop, say)))
                s3 = group.create_task(launch.start("s3", _s3(settings, workshop, say)))
        except BaseExceptionGroup as failures:
            failure = failures.exceptions[0]
        if failure is not None:
            raise failure  # here, so that its own cause stays; the others were stopped because of it
        yield Parts(kafka.result(), postgres.result(), s3.result(), launch.timings, launch.pids, launch.failure)


class _Launch:
    """The parts that have been started, in any order, to be stopped together."""

    def __init__(self) -> None:
        self.timings: dict[str, float] = {}
        self.pids: dict[str, int] = {}
        self.failure: asyncio.Future[PartError] = asyncio.get_running_loop().create_future()
        self._stopping = False
        self._started: list[AbstractAsyncContextManager[object]] = []

    async def start(self, name: str, part: Part[Endpoint]) -> Endpoint:
        clock = asyncio.get_running_loop().time
        begun = clock()
        endpoint, process = await part.__aenter__()
        self._started.append(part)
        self.timings[name] = round(clock() - begun, 3)
        if process is not None:
            self.pids[name] = process.pid
            process.exited.add_done_callback(lambda _: self._died(process))
        return endpoint

    def _died(self, process: Process) -> None:
        if not self._stopping and not self.failure.done():
            self.failure.set_result(process.died())

    async def stop(self) -> None:
        """Stop all of them at once: none needs another, and their users have stopped before."""
        self._stopping = True
        self.failure.cancel()
        stops = asyncio.gather(*(part.__aexit__(None, None, None) for part in self._started), return_exceptions=True)
        try:
            results = await asyncio.shield(stops)
        except asyncio.CancelledError:
            await stops  # bounded, and leaving now would only hand the same work to the guard
            raise
        for result in results:
            if isinstance(result, BaseException):
                raise result


def _kafka(settings: PartsSettings, workshop: tuple[DataDir, Guard] | None, say: Progress) -> Part[KafkaEndpoint]:
    if settings.kafka.mode == "external":
        return nullcontext((external_kafka(settings.kafka), None))
    if settings.kafka.mode == "docker" or workshop is None:
        return docker_kafka(settings.kafka, say)
    return run_kafka(settings.kafka, *workshop, say)


def _postgres(settings: PartsSettings, workshop: tuple[DataDir, Guard] | None, say: Progress) -> Part[PostgresEndpoint]:
    if settings.postgres.mode == "external":
        return nullcontext((external_postgres(settings.postgres), None))
    if settings.postgres.mode == "docker" or workshop is None:
        return docker_postgres(settings.postgres, say)
    return run_postgres(*workshop, say)


def _s3(settings: PartsSettings, workshop: tuple[DataDir, Guard] | None, say: Progress) -> Part[S3Endpoint]:
    if settings.s3.mode == "external":
        return nullcontext((external_s3(settings.s3), None))
    if settings.s3.mode == "docker" or workshop is None:
        return docker_s3(settings.s3, say)
    return run_s3(settings.s3, *workshop, say)
