"""A process: settings, logging, signals, and the stack in between."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from muniment.runtime.logging import configure_logging

from muniment.contracts.errors import MunimentError
from muniment.runtime import stop_point
from muniment.runtime.settings import Settings
from muniment.server.endpoints import require_external, started_parts
from muniment.server.parts import Parts
from muniment.server.stack import Endpoints, running_stack
from muniment.server.wiring import chosen

log = structlog.get_logger(__name__)


def say(text: str) -> None:
    """A line for the person at the terminal; stdout stays for answers."""
    print(text, file=sys.stderr, flush=True)


def run_until_signalled(main: Callable[[], Coroutine[Any, Any, None]], settings: Settings) -> int:
    """Run `main` until it ends or SIGINT or SIGTERM cancels it: a clean stop either way. 1 with the error told."""
    configure_logging(settings.log_level, settings.log_format)
    stop_point.configure(settings.stop_at)

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
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def up(settings: Settings, *, parts_env: bool) -> None:
    """All services with the parts that settings name, until cancelled. Prints `ready URL` when they answer."""
    async with (
        started_parts(settings, say) as (parts, endpoints),
        running_stack(settings, endpoints, chosen(()), say) as running,
    ):
        credentials = settings.data_dir / "credentials.json"
        await running.identity.ensure_first_admin(credentials, running.url)
        if parts_env:
            for name, value in parts_environment(endpoints).items():
                print(f"{name}={value}")
        print(f"ready {running.url}", flush=True)
        say(f"the admin token is in {credentials}; stop with Ctrl-C")
        try:
            await _first_failure(running.failed(), _part_failed(parts))
        finally:
            say("stopping")


async def run(settings: Settings, names: tuple[str, ...]) -> None:
    """The named services against external parts, until cancelled. Prints `ready URL` when they answer."""
    require_external(settings)
    services = chosen(names)
    async with (
        started_parts(settings, say) as (_, endpoints),
        running_stack(settings, endpoints, services, say) as running,
    ):
        if any(service.name == "registry" for service in services):
            await running.identity.ensure_first_admin(settings.data_dir / "credentials.json", running.url)
        print(f"ready {running.url} {' '.join(service.name for service in services)}", flush=True)
        try:
            await _first_failure(running.failed())
        finally:
            say("stopping")


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


async def _first_failure(*watches: Coroutine[Any, Any, None]) -> None:
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
