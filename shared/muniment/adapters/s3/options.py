"""How the S3 adapter reaches its store, and within which bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from muniment.contracts.errors import Misconfigured


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """Times in seconds, sizes in bytes."""

    endpoint: str
    """`http://HOST:PORT` or `https://HOST`, without a path."""
    public_endpoint: str | None = None
    """The address that presigned URLs carry, where their users see the store under another one."""
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    """Always set, so that no call has to ask the store for it first."""
    cafile: Path | None = None
    """Certificates to trust; None: the system's."""

    threads: int = 24
    """Short calls at once."""
    stream_threads: int = 16
    """Whole-object reads at once; each holds a chunk of 1 MiB."""

    connect_timeout: float = 3.0
    read_timeout: float = 30.0
    """Longest silence of the store, before and within an answer."""
    minimum_rate: int = 1024 * 1024
    """Bytes per second a body must at least come at, on average, beyond one `read_timeout`."""
    retries: int = 2
    """Further tries of a request without a body (reads, deletions), and of connecting for any request."""
    ping_timeout: float = 2.0
    settle_timeout: float = 3.0
    """How long a bucket that another process is just making may take to show its settings."""

    copy_part_size: int = 64 * 1024 * 1024
    """Larger objects are copied in parts of this size (5 MiB to 5 GiB), so that no single request takes minutes."""
    copy_parts_at_once: int = 4


def host_of(endpoint: str) -> tuple[str, bool]:
    """An endpoint as (`HOST[:PORT]`, uses TLS). Raises `Misconfigured` (`s3_endpoint_invalid`)."""
    url = urlsplit(endpoint)
    bare = not (url.path.strip("/") or url.query or url.fragment or "@" in url.netloc)
    if url.scheme in {"http", "https"} and url.hostname and bare:
        return url.netloc, url.scheme == "https"
    raise Misconfigured(
        "s3_endpoint_invalid",
        "the address of the object store is not usable",
        expected="http://HOST:PORT or https://HOST, without path, query or credentials",
        actual=url.hostname or "no host",
        hint="set MUNIMENT_S3__ENDPOINT (and MUNIMENT_S3__PUBLIC_ENDPOINT, if set) to such an address",
    )
