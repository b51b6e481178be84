"""The object store as a client of presigned URLs sees it: one request, and what its answer means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import httpx2

from muniment.contracts.errors import MunimentError, Transient
from muniment.sdk.transport import HttpClients

_CODE: Final = re.compile(rb"<Code>([A-Za-z0-9.]{1,80})</Code>")
_MAY_SUCCEED_LATER: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_STALE: Final = frozenset({401, 403, 404, 410})


class Stale(Exception):
    """The store does not take this URL (any more): it has expired, or its upload is gone. A fresh one may do."""

    def __init__(self, error: MunimentError) -> None:
        super().__init__(str(error))
        self.error = error


def put(
    clients: HttpClients, url: str, chunks: Iterable[bytes], size: int, headers: Mapping[str, str]
) -> Mapping[str, str]:
    """Upload `size` bytes; the answer's headers (lower case). Raises `Transient`, `Stale` or `MunimentError`."""
    sent = {**headers, "Content-Length": str(size)}
    with _talk("upload"):
        # An iterator is sent as it is produced; with Content-Length given it does not become a chunked body.
        response = clients.of(url).put(url, content=chunks, headers=sent)
    _check(response.status_code, response.content, "upload", {200, 201, 204})
    return {name.lower(): value for name, value in response.headers.items()}


@contextmanager
def get(clients: HttpClients, url: str, start: int = 0) -> Iterator[Iterator[bytes]]:
    """The object's bytes from `start` on, in chunks. Raises `Transient`, `Stale` or `MunimentError`."""
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with _talk("download"), clients.of(url).stream("GET", url, headers=headers) as response:
        if response.status_code not in {200, 206}:
            response.read()
            _check(response.status_code, response.content, "download", {200, 206})
        if start and response.status_code != 206:
            raise Transient("store_refused", "the store ignored the range of a resumed download", actual="HTTP 200")
        yield response.iter_raw()


@contextmanager
def _talk(verb: str) -> Iterator[None]:
    try:
        yield
    except httpx2.RequestError as error:
        raise Transient(
            "store_unreachable",
            f"the {verb} was cut off",
            actual=str(error) or type(error).__name__,
            hint="can this machine reach the object store? MUNIMENT_S3__PUBLIC_ENDPOINT is its address for clients",
        ) from error


def _check(status: int, body: bytes, verb: str, fine: set[int]) -> None:
    if status in fine:
        return
    code = _CODE.search(body[:4096])
    said = f"HTTP {status}" + (f" {code[1].decode()}" if code else "")
    if status in _MAY_SUCCEED_LATER:
        raise Transient("store_unavailable", f"the store did not take the {verb}", actual=said)
    error = MunimentError("store_refused", f"the store refused the {verb}", actual=said)
    if status in _STALE:
        raise Stale(error)
    raise error
