"""The object store as a client of presigned URLs sees it: one request, and what its answer means.

The API token never goes there: a presigned URL says all that the store needs to know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from muniment.contracts.errors import MunimentError, Transient
from muniment.sdk.exchange import Unanswered
from muniment.sdk.wire import FileRange, Response, Wire

_CODE: Final = re.compile(rb"<Code>([A-Za-z0-9.]{1,80})</Code>")
_MAY_SUCCEED_LATER: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_STALE: Final = frozenset({401, 403, 404, 410})
_LONGEST_ERROR: Final = 64 * 1024


class Stale(Exception):
    """The store does not take this URL (any more): it has expired, or its upload is gone. A fresh one may do."""

    def __init__(self, error: MunimentError) -> None:
        super().__init__(str(error))
        self.error = error


def put(wire: Wire, url: str, body: FileRange, headers: Mapping[str, str]) -> Mapping[str, str]:
    """Upload a part of a file; the answer's headers (lower case). Raises `Transient`, `Stale` or `MunimentError`."""
    with _talk("upload"), wire.exchange("PUT", url, headers=headers, body=body) as response:
        _check(response, "upload", {200, 201, 204})
        response.read(_LONGEST_ERROR)
        return response.headers


@contextmanager
def get(wire: Wire, url: str, start: int = 0, end: int | None = None) -> Iterator[Iterator[bytes]]:
    """The object's bytes from `start` on, before `end` or to its own, in chunks.

    Raises `Transient`, `Stale` or `MunimentError`.
    """
    partly = start > 0 or end is not None
    headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"} if partly else {}
    with _talk("download"), wire.exchange("GET", url, headers=headers) as response:
        _check(response, "download", {206} if partly else {200, 206})
        yield response.chunks()


@contextmanager
def _talk(verb: str) -> Iterator[None]:
    try:
        yield
    except Unanswered as error:
        raise Transient(
            "store_unreachable",
            f"the {verb} was cut off",
            expected=f"an answer from {error.url}",
            actual=error.reason,
            hint="can this machine reach the object store? MUNIMENT_S3__PUBLIC_ENDPOINT is its address for clients",
        ) from error


def _check(response: Response, verb: str, fine: set[int]) -> None:
    status = response.status
    if status in fine:
        return
    if status == 200:
        raise Transient("store_refused", "the store ignored the range of a download", actual="HTTP 200")
    code = _CODE.search(response.read(_LONGEST_ERROR))
    said = f"HTTP {status}" + (f" {code[1].decode()}" if code else "")
    if status in _MAY_SUCCEED_LATER:
        raise Transient("store_unavailable", f"the store did not take the {verb}", actual=said)
    error = MunimentError("store_refused", f"the store refused the {verb}", actual=said)
    if status in _STALE:
        raise Stale(error)
    raise error
