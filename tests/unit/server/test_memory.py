"""What a process of services asks of its allocator."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

_ARENAS_OF_MANY_THREADS = """
import ctypes, sys, threading
from muniment.server.memory import keep_few_arenas

keep_few_arenas()
together = threading.Barrier(8)

def allocate():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc(1000)
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are those of glibc's allocator")
@pytest.mark.parametrize(("said", "arenas"), [({}, 2), ({"MALLOC_ARENA_MAX": "4"}, 4)])
def test_threads_share_two_arenas_unless_the_operator_says_otherwise(
    tmp_path: Path, said: dict[str, str], arenas: int
) -> None:
    info = tmp_path / "malloc.xml"
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    command = [sys.executable, "-c", _ARENAS_OF_MANY_THREADS, str(info)]
    subprocess.run(command, env=environment | said, check=True, timeout=60)
    assert info.read_text().count("<heap nr=") == arenas
