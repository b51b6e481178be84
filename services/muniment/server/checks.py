"""What must hold before the stack starts, and what `/readyz` asks while it runs."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import asyncpg

from muniment.adapters.kafka import ping
from muniment.contracts.errors import Misconfigured
from muniment.ports.blobs import BlobStore
from muniment.runtime.settings import Settings

if TYPE_CHECKING:
    from muniment.server.endpoints import Endpoints


def check_settings(settings: Settings) -> None:
    """Raise `Misconfigured` for settings that would be unsafe."""
    if not is_loopback(settings.http.host) and not settings.http.allow_remote:
        raise Misconfigured(
            "http_not_loopback",
            f"the HTTP API would listen on {settings.http.host}",
            expected="a loopback address such as 127.0.0.1",
            actual=settings.http.host,
            hint="put a TLS proxy before it and set MUNIMENT_HTTP__ALLOW_REMOTE=true to say that you mean it",
        )


def is_loopback(host: str) -> bool:
    """Whether a host names this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def ready_checks(
    endpoints: Endpoints, pool: asyncpg.Pool[Any], blobs: BlobStore, bucket: str
) -> Mapping[str, Callable[[], Awaitable[None]]]:
    """The three questions of `/readyz`: does the broker, the database, the store answer."""

    async def database() -> None:
        await pool.fetchval("SELECT 1", timeout=2)

    return {
        "kafka": lambda: ping(endpoints.kafka),
        "postgres": database,
        "s3": lambda: blobs.ping(bucket),
    }
