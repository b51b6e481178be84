"""A process: settings, logging, signals, and the stack in between."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any

import structlog

from muniment.contracts.errors import MunimentError
from muniment.runtime import stop_point
from muniment.runtime.logging import configure as configure_logging
from muniment.runtime.settings import Settings
from muniment.server.endpoints import CREDENTIALS, PARTS_ENV, Endpoints, require_external, started_parts
from muniment.server.memory import keep_few_arenas, keep_out_of_collections
from muniment.server.parts import Parts
from muniment.server.parts.datadir import write_private

if TYPE_CHECKING:
    from muniment.runtime.service import Service

log = structlog.get_logger(__name__)


def say(text: str) -> None:
    """A line for the person at the terminal; stdout stays for answers."""
    with contextlib.suppress(OSError):  # a full disk under the log must not stop the work
        print(text, file=sys.stderr, flush=True)


def run_until_signalled(main: Callable[[], Coroutine[Any, Any, None]], settings: Settings) -> int:
    """Run `main` until it ends or SIGINT or SIGTERM cancels it: a clean stop either way. 1 with the error told."""
    configure_logging(settings.log_level, settings.log_format)
    stop_point.configure(settings.stop_at)
    keep_few_arenas()  # before the first thread

    async def run() -> None:
        task = asyncio.create_task(main())
        loop = asyncio.get_running_loop()
        signalled = False

        def stop() -> None:
            nonlocal signalled
            if not signalled:  # a second signal must not cancel the clean stop
                signalled = True
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        try:
            await task
        except asyncio.CancelledError:
            if not signalled:
                raise

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(run())
    except MunimentError as error:
        say(f"error [{error.code}]: {error}")
        return 1
    except BaseExceptionGroup as errors:  # from a task group: the first one tells what happened
        say(f"error: {errors.exceptions[0]!r}")
        return 1
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def up(settings: Settings, ready: Callable[[str], None]) -> None:
    """All services with the parts that settings name, until cancelled. Calls `ready` with the URL when they answer.

    Meanwhile `parts.env` in the data folder (mode 0600) tells other processes how to reach the same parts.
    """
    if settings.kafka.mode == "embedded" and settings.kafka.instance is None:
        # The data folder's lock lets one such process run, so the name is its own.
        settings = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"instance": "up"})})
    # The services take as long to import as the parts to start, so a thread does that meanwhile.
    loading = asyncio.create_task(asyncio.to_thread(_load, ()))
    async with AsyncExitStack() as stack:
        parts, endpoints = await stack.enter_async_context(started_parts(settings, say))
        services = await loading
        from muniment.server.stack import running_stack

        running = await stack.enter_async_context(running_stack(settings, endpoints, services, say))
        environment = settings.data_dir / PARTS_ENV
        write_private(environment, "".join(f"{k}={v}\n" for k, v in parts_environment(endpoints).items()))
        keep_out_of_collections()
        ready(running.url)
        say(f"the admin token is in {settings.data_dir / CREDENTIALS}; stop with Ctrl-C")
        try:
            await _first_failure(running.failed(), _part_failed(parts))
        finally:
            say("stopping")
            environment.unlink(missing_ok=True)


async def run(settings: Settings, names: tuple[str, ...], ready: Callable[[str], None]) -> None:
    """The named services against external parts, until cancelled. Calls `ready` with the URL when they answer."""
    from muniment.server.stack import running_stack

    require_external(settings)
    services = _load(names)
    async with (
        started_parts(settings, say) as (_, endpoints),
        running_stack(settings, endpoints, services, say) as running,
    ):
        keep_out_of_collections()
        ready(running.url)
        try:
            await _first_failure(running.failed())
        finally:
            say("stopping")


def _load(names: tuple[str, ...]) -> tuple[Service, ...]:
    """The services with these names, and with them all the code that a stack needs."""
    import_module("muniment.server.stack")
    from muniment.server.wiring import chosen

    return chosen(names)


def parts_environment(endpoints: Endpoints) -> dict[str, str]:
    """The settings under which other processes reach the same parts."""
    return {
        "MUNIMENT_KAFKA__MODE": "external",
        "MUNIMENT_KAFKA__BOOTSTRAP": endpoints.kafka.bootstrap,
        "MUNIMENT_POSTGRES__MODE": "external",
        "MUNIMENT_POSTGRES__DSN": endpoints.postgres_dsn,
        "MUNIMENT_S3__MODE": "external",
        "MUNIMENT_S3__ENDPOINT": endpoints.s3_endpoint,
        "MUNIMENT_S3__ACCESS_KEY": endpoints.s3_access_key,
        "MUNIMENT_S3__SECRET_KEY": endpoints.s3_secret_key,
        "MUNIMENT_S3__REGION": endpoints.s3_region,
    }


async def _part_failed(parts: Parts) -> None:
    raise await parts.wait_failed()


async def _first_failure(*watches: Awaitable[None]) -> None:
    """Wait until one of these raises, and raise it."""
    tasks = [asyncio.ensure_future(watch) for watch in watches]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
