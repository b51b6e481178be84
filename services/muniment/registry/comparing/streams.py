"""Reading pieces of a version's files in order, with few requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final

from muniment.contracts.errors import NotFound, Rejected
from muniment.ports.blobs import BlobStore, StoreUnavailable
from muniment.registry.comparing.headers import StoredFile

_STRETCH: Final = 64 * 1024 * 1024
"""Bytes that one request asks for: many small tensors cost few requests, and a jump wastes this much at most."""
_GAP: Final = 256 * 1024
"""Bytes that are read and dropped rather than asking anew."""


class Stream:
    """One side of a comparison. Blocking; one thread at a time. Close it."""

    def __init__(self, blobs: BlobStore, cancel: threading.Event) -> None:
        """Setting `cancel` ends a read at its next chunk."""
        self._blobs = blobs
        self._cancel = cancel
        self._copy = _copying()
        self._open = ExitStack()
        self._file: StoredFile | None = None
        self._chunks: Iterator[bytes] = iter(())
        self._rest = memoryview(b"")
        self._at = 0  # the offset in the file of the next byte
        self._end = 0  # where what was asked for ends

    def close(self) -> None:
        """End the request that is under way."""
        self._open.close()

    def read(self, file: StoredFile, offset: int, into: bytearray) -> None:
        """Exactly these bytes of the file: as many as `into` holds.

        Raises `Rejected` (`bytes_missing`) where the store has the version no more, and as `BlobReader` does.
        """
        room, done = memoryview(into), 0
        while done < len(into):
            at = offset + done
            if file != self._file or not self._at <= at <= self._at + _GAP or at >= self._end:
                self._ask(file, at)
            self._take(at - self._at, None)
            done += self._take(len(into) - done, room[done:])

    def _ask(self, file: StoredFile, offset: int) -> None:
        self._open.close()
        length = min(_STRETCH, file.size - offset)
        try:
            reader = self._open.enter_context(
                self._blobs.open(file.location, offset=offset, length=length, cancel=self._cancel)
            )
        except NotFound as error:
            raise bytes_missing(file) from error
        self._file, self._at, self._end = file, offset, offset + length
        self._chunks, self._rest = reader.read_chunks(), memoryview(b"")

    def _take(self, length: int, into: memoryview | None) -> int:
        """Move the request's next bytes, `length` of them or as many as it still has; how many that was."""
        taken, wanted = 0, min(length, self._end - self._at)
        while taken < wanted:
            if not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    raise StoreUnavailable(
                        "store_inconsistent", "a file is shorter than it was", expected=self._end, actual=self._at
                    )
                self._rest = memoryview(chunk)
            part = self._rest[: wanted - taken]
            if into is not None:
                self._copy(into[taken : taken + len(part)], part)
            taken += len(part)
            self._rest = self._rest[len(part) :]
            self._at += len(part)
        return taken


def _copying() -> Callable[[memoryview, memoryview], None]:
    """Moves bytes, by NumPy: it lets other threads compute meanwhile, which Python's own does not."""
    import numpy as np

    def copy(into: memoryview, part: memoryview) -> None:
        np.copyto(np.frombuffer(into, np.uint8), np.frombuffer(part, np.uint8))

    return copy


def bytes_missing(file: StoredFile) -> Rejected:
    """The store has a committed file no more."""
    return Rejected(
        "bytes_missing",
        f"{file.path} is not in the store any more",
        expected=f"{file.location.key} version {file.location.version_id}",
        actual="nothing",
        hint="compare without the tensors: --no-tensors",
    )
