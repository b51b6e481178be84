"""A file while it arrives: its bytes are hashed and made durable on threads of their own while the next ones come in.

Hashing takes as long as receiving does, and a disk longer than both; one after the other, a big download would take the
sum of the three.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

SYNC_EVERY: Final = 16 * 1024 * 1024
"""Bytes that may be written before the disk is asked for them, unless it is still busy with the ones before."""
_WORTH_A_THREAD: Final = 256 * 1024


class Landing:
    """Writes to `out` and keeps `digest` up. Use it with `with`: nothing touches the file after the block."""

    def __init__(self, out: BinaryIO, digest: hashlib._Hash) -> None:
        self._out = out
        self._digest = digest
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="muniment-landing")
        self._hashing: Future[Any] | None = None
        self._syncing: Future[Any] | None = None
        self._unsynced = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True)

    def write(self, chunk: bytes) -> None:
        """Take the next bytes. Raises what an earlier write to the disk came to."""
        self._hash(chunk)
        self._out.write(chunk)
        self._unsynced += len(chunk)
        if self._unsynced >= SYNC_EVERY and (self._syncing is None or self._syncing.done()):
            _wait(self._syncing)
            self._unsynced = 0
            self._syncing = self._threads.submit(os.fsync, self._out.fileno())

    def finish(self) -> str:
        """Make everything durable; the SHA-256 (hexadecimal) of everything."""
        _wait(self._syncing)  # an error is told once, to the call that met it
        self._out.flush()
        os.fsync(self._out.fileno())
        _wait(self._hashing)
        return self._digest.hexdigest()

    def _hash(self, chunk: bytes) -> None:
        _wait(self._hashing)
        self._hashing = None
        if len(chunk) < _WORTH_A_THREAD:
            self._digest.update(chunk)
        else:
            self._hashing = self._threads.submit(self._digest.update, chunk)


def _wait(future: Future[Any] | None) -> None:
    if future is not None:
        future.result()
