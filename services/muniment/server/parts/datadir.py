"""The folder that holds everything the embedded parts keep: layout, lock, remembered ports, socket folder.

Two locks, both `flock`, so a crash leaves none behind:

- `owner.lock` is held by the server process alone. Taken: somebody runs on this folder, its process id is inside.
- `parts.lock` is held by the guard and every child as well. Taken although `owner.lock` was free: the server was killed
  and its parts are still being stopped, which is worth waiting for.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import random
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from muniment.server.parts.errors import PartError

# Postgres refuses to run as root, so root's folders let its other user pass (and not look around)
PRIVATE = 0o711 if os.geteuid() == 0 else 0o700
LONGEST_SOCKET = "pg/.s.PGSQL.5432"
SOCKET_PATH_LIMIT = 103  # bytes of sun_path on macOS; Linux has 107
PORT_RANGE = range(20000, 32000)  # below the ranges from which systems take ports for outgoing connections
LEFTOVER_PATIENCE = 60.0
REMEMBERED_PORTS = "ports.json"
"""The file with the parts' ports: there once parts have been started in the folder."""


@dataclass(frozen=True)
class DataDir:
    """A locked data folder. `lock_fd` is the open `parts.lock`, to be inherited by whatever works in the folder."""

    root: Path
    lock_fd: int

    def part(self, name: str) -> Path:
        """The folder of one part, created if need be."""
        path = self.root / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def log(self, part: str) -> Path:
        """The log file of one part; its folder exists."""
        return self.part("logs") / f"{part}.log"

    def socket_dir(self) -> Path:
        """A folder short enough for unix sockets, that only we can write to: `run` here, or one among temporary files.

        Raises `PartError` (`unsafe_socket_dir`) when that one exists and belongs to somebody else.
        """
        here = self.root / "run"
        if len(os.fsencode(here / LONGEST_SOCKET)) <= SOCKET_PATH_LIMIT:
            here.mkdir(mode=PRIVATE, exist_ok=True)
            return here
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        short = Path(tempfile.gettempdir()) / f"muniment-{os.geteuid()}-{digest}"
        with contextlib.suppress(FileExistsError):
            short.mkdir(mode=PRIVATE)
        found = short.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise PartError(
                "data",
                "unsafe_socket_dir",
                f"{short} is not a folder of this user alone",
                expected=f"a folder of user {os.geteuid()} that nobody else can write",
                actual=f"user {found.st_uid}, mode {found.st_mode:o}",
                hint="remove it, or choose a shorter MUNIMENT_DATA_DIR",
            )
        return short

    def ports(self, part: str, **wanted: int | None) -> dict[str, int]:
        """One free loopback port for each name. A wanted one must be free; else the one of last time is taken
        if it is still free; else a new one. Remembered in `REMEMBERED_PORTS`.

        Raises `PartError` (`port_in_use`) for a wanted port that is taken.
        """
        file = self.root / REMEMBERED_PORTS
        known: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
        chosen: dict[str, int] = {}
        taken = {port for key, port in known.items() if not key.startswith(f"{part}.")}
        for name, fixed in wanted.items():
            last = known.get(f"{part}.{name}")
            if fixed is not None:
                chosen[name] = free_port(part, fixed)
            elif last is not None and last not in chosen.values() and port_is_free(last):
                chosen[name] = last
            else:
                chosen[name] = free_port(part, None, taken | set(chosen.values()))
        known |= {f"{part}.{name}": port for name, port in chosen.items()}
        write_private(file, json.dumps(known, indent=2, sort_keys=True))
        return chosen


@asynccontextmanager
async def open_data_dir(path: Path, on_progress: Callable[[str], None]) -> AsyncIterator[DataDir]:
    """Create the folder if need be and hold its locks for as long as the block lasts.

    Raises `PartError`: `data_dir_unusable` for a path with a comma; `data_dir_in_use` at once when another process
    runs on it; `leftover_parts` when parts of a killed process have not ended within a minute.
    """
    root = _private_folder(path)
    with ExitStack() as stack:
        owner = _open(root / "owner.lock", stack)
        if not _try_lock(owner):
            raise PartError(
                "data",
                "data_dir_in_use",
                f"process {os.pread(owner, 32, 0).decode().strip() or '(unknown)'} already runs on {root}",
                hint="stop it first, or choose another folder with MUNIMENT_DATA_DIR",
            )
        os.ftruncate(owner, 0)
        os.pwrite(owner, f"{os.getpid()}\n".encode(), 0)
        parts = _open(root / "parts.lock", stack)
        if not _try_lock(parts):
            on_progress("waiting for the parts of an earlier run to stop")
            await _wait_for_lock(parts, root)
        yield DataDir(root, parts)


def _private_folder(path: Path) -> Path:
    root = path.expanduser().resolve()
    if "," in str(root):
        raise PartError(
            "data",
            "data_dir_unusable",
            "the data folder's path has a comma, at which Kafka and SeaweedFS would split it",
            expected="a path without commas",
            actual=root,
            hint="choose another with MUNIMENT_DATA_DIR",
        )
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(PRIVATE)
    return root


async def _wait_for_lock(lock: int, root: Path) -> None:
    try:
        async with asyncio.timeout(LEFTOVER_PATIENCE):
            while not _try_lock(lock):  # noqa: ASYNC110 - another process's lock: nothing here can wake us
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise PartError(
            "data",
            "leftover_parts",
            f"processes of an earlier run still work in {root}",
            expected=f"their end within {LEFTOVER_PATIENCE:.0f} s",
            actual=f"{root / 'parts.lock'} is held by {_holders(root / 'parts.lock') or 'a process of another user'}",
            hint="end them (kill PID) and start again",
        ) from error


def _holders(file: Path) -> str:
    """The processes that have this file open, as Linux' /proc tells; empty where there is none to tell."""
    pids = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # processes come and go, and others' are not ours to look at
            if link.parts[2] != str(os.getpid()) and link.samefile(file):
                pids.add(int(link.parts[2]))
    return ", ".join(map(str, sorted(pids)))


def port_is_free(port: int) -> bool:
    """Whether nothing listens on this loopback port (connections that are winding down do not count)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
        return True


def free_port(part: str, wanted: int | None, taken: Collection[int] = ()) -> int:
    """`wanted`, or else a free loopback port that is not `taken`.

    Raises `PartError` (`port_in_use`, `no_free_port`).
    """
    if wanted is not None:
        if port_is_free(wanted):
            return wanted
        raise PartError(
            part,
            "port_in_use",
            f"port {wanted} on 127.0.0.1 is taken by another program",
            hint=f"free it, or choose another with MUNIMENT_{part.upper()}__PORT",
        )
    for port in random.sample(PORT_RANGE, 200):
        if port not in taken and port_is_free(port):
            return port
    raise PartError(
        part, "no_free_port", "no free port on 127.0.0.1", expected=f"one of 200 tried in {PORT_RANGE}", actual="none"
    )


def write_private(path: Path, text: str) -> None:
    """Write a small file that only its owner can read, whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _open(path: Path, stack: ExitStack) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, descriptor)
    return descriptor


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
