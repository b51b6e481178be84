"""Row 17: no room on the disks of our processes. Services need none to work; what writes files leaves no half of one.

Postgres without room is in test_database.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from muniment.notifier.sealing import load_key
from muniment.runtime.identity import first_admin
from muniment.server.parts.datadir import write_private
from muniment.testing.tcp_proxy import TcpProxy
from tests.faults.replicas import Replica

from .conftest import Outage

NO_LIMIT = resource.RLIM_INFINITY


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits another process")
async def test_services_work_on_without_a_byte_of_room_on_their_disks(healed: Outage) -> None:
    pids, database = healed.pids(), healed.fleet.cluster.database
    sizes = [_limited(replica, 0) for replica in healed.replicas]
    try:
        await _told_of(database)
        await healed.load(12)
        await healed.recovered(pids)
        grown = [_log(replica).stat().st_size - size for replica, size in zip(healed.replicas, sizes, strict=True)]
        assert not any(grown), healed.fleet.why(f"the disk was not full, logs grew by {grown}")
    finally:
        for replica in healed.replicas:
            _limited(replica, NO_LIMIT)
    await _told_of(database)
    async with asyncio.timeout(30):  # there is room: every service tells again
        while not all(
            _log(replica).stat().st_size > size for replica, size in zip(healed.replicas, sizes, strict=True)
        ):
            await asyncio.sleep(0.05)
    await healed.recovered(pids)


async def _told_of(database: TcpProxy) -> None:
    """Break every connection to the database: each service logs that, or tries to."""
    await database.down()
    await database.up()


def _log(replica: Replica) -> Path:
    return replica.folder / "log"


def _limited(replica: Replica, size: int) -> int:
    """Let it write no file beyond this size; the size of its log at this moment. A soft limit, so that it can go."""
    assert replica.process is not None
    _, hard = resource.prlimit(replica.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(replica.process.pid, resource.RLIMIT_FSIZE, (size, hard))
    return _log(replica).stat().st_size


def _credentials(folder: Path) -> None:
    first_admin._put(folder / "credentials.json", "http://127.0.0.1:1", "mnt_" + "x" * 500)


def _sealing_key(folder: Path) -> None:
    load_key(None, folder)


def _private(folder: Path) -> None:
    write_private(folder / "parts.env", "NAME=value\n" * 100)


WRITERS: dict[str, Callable[[Path], None]] = {
    "credentials.json": _credentials,
    "secrets/notifier.key": _sealing_key,
    "parts.env": _private,
}


@contextmanager
def full() -> Iterator[None]:
    """This process writes no file beyond 10 bytes."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def failing() -> Iterator[None]:
    """Nothing becomes durable."""

    def fsync(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield


DISKS = {"full": (full, errno.EFBIG), "failing": (failing, errno.EIO)}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("disk", DISKS)
def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path, name: str, disk: str) -> None:
    write, place = WRITERS[name], tmp_path / name
    trouble, number = DISKS[disk]
    with trouble(), pytest.raises(OSError) as caught:
        write(tmp_path)
    assert caught.value.errno == number
    assert not place.exists(), "a part of it is visible"
    write(tmp_path)
    whole = place.read_bytes()
    with trouble(), contextlib.suppress(OSError):
        write(tmp_path)
    assert place.read_bytes() == whole, "what was there before is damaged"
