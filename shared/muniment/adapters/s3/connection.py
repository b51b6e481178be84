"""The clients behind the adapter, their connections and threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

import urllib3
from minio import Minio

from muniment.adapters.s3.errors import asking
from muniment.adapters.s3.exchange import S3Exchange
from muniment.adapters.s3.options import S3Options, host_of

P = ParamSpec("P")
T = TypeVar("T")


class S3Connection:
    """Clients, connection pools and thread pools. Opens nothing before the first call."""

    def __init__(self, options: S3Options) -> None:
        self.options = options
        self._http = _connections(options, options.connect_timeout, options.read_timeout, options.retries)
        self._probe_http = _connections(options, options.ping_timeout / 2, options.ping_timeout / 2, 0)
        self.exchange = S3Exchange(options)
        """For short requests."""
        self.client = _client(options, options.endpoint, self._http)
        self.prober = _client(options, options.endpoint, self._probe_http)
        """The same store with short time-outs and no second try."""
        self.signer = _client(options, options.public_endpoint or options.endpoint, self._http)
        """Signs URLs for the address that their users see; with the region set, that asks nobody."""
        self._calls = ThreadPoolExecutor(options.threads, thread_name_prefix="s3-call")
        self._streams = ThreadPoolExecutor(options.stream_threads, thread_name_prefix="s3-stream")

    def request(
        self,
        method: str,
        bucket: str,
        key: str | None = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """A signed request whose whole answer is in memory; for what minio-py has no public method for.

        That is: one page of a versions listing, and multipart uploads that others fill. This is the only use of a
        private name of minio-py 7.2.
        """
        return self.client._execute(  # noqa: SLF001 - see the docstring; pinned to minio < 8
            method, bucket, key, body=body, headers=dict(headers or {}), query_params=dict(query or {})
        )

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A short call in a thread. Cancelling the caller does not stop it: the time-outs do."""
        return await asyncio.get_running_loop().run_in_executor(self._calls, partial(function, *args, **kwargs))

    async def run_stream(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A long read in a thread of another pool, so that it never keeps short calls waiting."""
        return await asyncio.get_running_loop().run_in_executor(self._streams, partial(function, *args, **kwargs))

    def probe(self, bucket: str) -> bool:
        """True if the bucket exists, asked with short time-outs."""
        with asking(bucket):
            return self.prober.bucket_exists(bucket)

    async def aclose(self) -> None:
        """Wait for running calls in threads (their time-outs bound that), then close every connection."""
        await self.exchange.aclose()
        for pool in (self._calls, self._streams):
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)
        self._http.clear()
        self._probe_http.clear()


def _client(options: S3Options, endpoint: str, http: urllib3.PoolManager) -> Minio:
    host, secure = host_of(endpoint)
    return Minio(
        host,
        access_key=options.access_key,
        secret_key=options.secret_key,
        secure=secure,
        region=options.region,
        http_client=http,
    )


def _connections(options: S3Options, connect: float, read: float, retries: int) -> urllib3.PoolManager:
    """Retries: connecting, for all requests; broken or 5xx answers, for requests without a body only.

    A body is not sent twice from here: a second PUT would be a second version. Redirects are not followed: signed
    requests go to the configured host and nowhere else.
    """
    return urllib3.PoolManager(
        maxsize=options.threads + options.stream_threads,
        timeout=urllib3.Timeout(connect=connect, read=read),
        cert_reqs="CERT_REQUIRED",
        ca_certs=None if options.cafile is None else str(options.cafile),
        retries=urllib3.Retry(
            total=retries,
            redirect=False,
            allowed_methods={"GET", "HEAD", "DELETE"},
            status_forcelist={500, 502, 503, 504},
            backoff_factor=0.1,
            backoff_max=2,
            backoff_jitter=0.1,
            raise_on_status=False,
            respect_retry_after_header=False,
        ),
    )
