"""HTTP: one application with the routers of the services that run here, on uvicorn in the stack's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import uvicorn
from fastapi import APIRouter
from uvicorn.protocols.http.h11_impl import H11Protocol

from muniment.contracts.version import VERSION
from muniment.runtime.http.app import build_app
from muniment.runtime.http.auth import Authenticator
from muniment.runtime.metrics import Metrics
from muniment.runtime.schema_files import ASYNCAPI

_GRACE_S: Final = 10


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the process has one place for signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing."""
        yield


class _Protocol(H11Protocol):
    """uvicorn's own, with a word for endless answers: `request.state.abort` cuts the connection of a reader who does
    not read. Closing it instead would wait for what he has not taken.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # reason: as in uvicorn
        """Take the connection."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": transport.abort}


@asynccontextmanager
async def serving(
    listener: socket.socket,
    routers: Sequence[APIRouter],
    identity: Authenticator,
    ready: Mapping[str, Callable[[], Awaitable[None]]],
    notes: Mapping[str, Callable[[], Awaitable[None]]],
    metrics: Metrics,
) -> AsyncIterator[asyncio.Task[None]]:
    """The task that serves until the block ends; then requests in flight get 10 s, and all connections end."""
    app = build_app(
        version=VERSION,
        routers=routers,
        identity=identity,
        ready=ready,
        notes=notes,
        metrics=metrics,
        asyncapi=ASYNCAPI.read_bytes(),
    )
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        http=_Protocol,  # on h11: the other parser puts no limit on headers
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_GRACE_S,
        timeout_keep_alive=65,
        limit_concurrency=2_000,
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = _Server(config)

    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        yield task
    finally:
        app.state.stopping.set()
        server.should_exit = True
        await asyncio.wait([task], timeout=_GRACE_S + 5)
        task.cancel()
        listener.close()
