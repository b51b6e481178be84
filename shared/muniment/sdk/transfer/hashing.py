"""SHA-256 of local files, on threads, with a memory for big ones that did not change."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from muniment.sdk.transfer.cache import Cache
from muniment.sdk.transfer.pool import Stop, run_all
from muniment.sdk.transfer.progress import Meter
from muniment.sdk.transfer.scan import LocalFile, file_changed

CHUNK: Final = 1024 * 1024
CACHED_FROM: Final = 8 * 1024 * 1024
"""Smaller files are hashed again faster than they are looked up."""


def sha256_of(source: Path, moved: Callable[[int], None], stop: Stop) -> tuple[str, int]:
    """The SHA-256 (hexadecimal) and size in bytes of a file, read once in bounded memory."""
    digest = hashlib.sha256()
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    size = 0
    with source.open("rb", buffering=0) as file:
        while count := file.readinto(view):
            stop.check()
            digest.update(view[:count])
            size += count
            moved(count)
    return digest.hexdigest(), size


def hash_files(files: Sequence[LocalFile], cache: Cache, meter: Meter, stop: Stop) -> list[str]:
    """The SHA-256 of each file. Raises `Conflict` (`file_changed`) where one was written to meanwhile."""

    def one(file: LocalFile) -> str:
        known = cache.digest_of(file) if file.size >= CACHED_FROM else None
        if known is not None:
            meter.add(file.size, file.path)
            return known
        digest, size = sha256_of(file.source, lambda count: meter.add(count, file.path), stop)
        if size != file.size:
            raise file_changed(file)
        file.check_unchanged()
        if file.size >= CACHED_FROM:
            cache.keep_digest(file, digest)
        return digest

    workers = min(8, os.cpu_count() or 1, len(files))
    return run_all((partial(one, file) for file in files), workers=workers, stop=stop)
