"""HTTP: one application with the routers of the services that run here, on uvicorn in the stack's own loop."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version

import uvicorn
from fastapi import APIRouter

from muniment.runtime.http.app import build_app
from muniment.runtime.http.auth import Authenticator
from muniment.runtime.metrics import Metrics
from muniment.runtime.schema_files import ASYNCAPI


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the process has one place for signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing."""
        yield


@asynccontextmanager
async def serving(
    listener: socket.socket,
    routers: Sequence[APIRouter],
    identity: Authenticator,
    ready: Mapping[str, Callable[[], Awaitable[None]]],
    metrics: Metrics,
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """The loop that serves until the block ends; then requests in flight get 10 s."""
    app = build_app(
        version=version("muniment"),
        routers=routers,
        identity=identity,
        ready=ready,
        metrics=metrics,
        asyncapi=ASYNCAPI.read_bytes(),
    )
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=10,
        timeout_keep_alive=65,
        limit_concurrency=2_000,
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = _Server(config)

    async def serve() -> None:
        await server.serve(sockets=[listener])

    try:
        yield serve
    finally:
        server.should_exit = True
        listener.close()
