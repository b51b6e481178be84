"""What a process of services asks of its allocator and of its garbage collector."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
from typing import Final

_COLLECT: Final = (5_000, 10, 10)
"""New objects before a collection, and collections before one of an older generation, once the process is ready.

Python's 700 is for small programs: a batch of events makes more, all of them alive, and is looked at again and again.
"""
_M_ARENA_MAX: Final = -8
_ARENAS: Final = 2


def keep_few_arenas() -> None:
    """Threads share two arenas of glibc's allocator; `MALLOC_ARENA_MAX`, where it is set, holds instead.

    By default there are eight for each processor, and each keeps what its threads have freed: hashing 64 files at once
    leaves megabytes in every one. No effect with another C library. Source: mallopt(3).
    """
    if platform.libc_ver()[0] == "glibc" and "MALLOC_ARENA_MAX" not in os.environ:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def keep_out_of_collections() -> None:
    """What is loaded by now stays for good: looking at all of it stops every event for 0.1 to 0.3 s."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
