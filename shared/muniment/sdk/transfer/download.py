"""Downloading a version's files: by version-id, resumed by range, checked while they stream, in place at once or not.

A file is written beside its place as `.NAME.DIGEST.part`, made durable, and renamed when its SHA-256 is right.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from muniment.contracts.errors import Conflict, MunimentError, Transient
from muniment.sdk.manifest import ManifestFile
from muniment.sdk.transfer import store
from muniment.sdk.transfer.hashing import sha256_of
from muniment.sdk.transfer.landing import Landing
from muniment.sdk.transfer.pool import Stop, run_all, with_retries
from muniment.sdk.transfer.progress import Meter, OnProgress
from muniment.sdk.wire import Wire

WORKERS: Final = 4
STRETCH: Final = 64 * 1024 * 1024
"""Bytes that one request asks for at most: some stores give those with half of the work (docs/performance.md)."""


class Damaged(Exception):
    """What arrived is not what the manifest says."""

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"expected {expected}, actual {actual}")
        self.expected = expected
        self.actual = actual


@dataclass(frozen=True, slots=True)
class Target:
    """A file and where it goes."""

    file: ManifestFile
    place: Path

    @property
    def partial(self) -> Path:
        """Where it is written until it is whole."""
        return self.place.with_name(f".{self.place.name[:100]}.{self.file.sha256[:16]}.part")


class Download:
    """The files of one version on their way into a directory. Like `Upload`: `take` URLs, `run` while any `left`."""

    def __init__(
        self,
        wire: Wire,
        files: Sequence[ManifestFile],
        directory: Path,
        *,
        verify: bool,
        on_progress: OnProgress | None,
        workers: int = WORKERS,
    ) -> None:
        self._wire = wire
        self._verify = verify
        self._workers = workers
        self._meter = Meter("download", sum(file.size for file in files), on_progress)
        self._targets = [Target(file, directory / file.path) for file in files]
        self._urls: Mapping[str, str] = {}
        self.refused: MunimentError | None = None

    def take(self, urls: Mapping[str, str]) -> None:
        """Fresh presigned URLs by path."""
        self._urls = urls

    @property
    def left(self) -> int:
        """How many files are still to be fetched."""
        return len(self._targets)

    def run(self, stop: Stop) -> None:
        """Fetch what is left. Raises `Conflict` (`digest_mismatch`), `Transient` or `MunimentError`."""
        jobs = (partial(self._attempt, target, stop) for target in self._targets)
        stale = run_all(jobs, workers=self._workers, stop=stop)
        fetched_any = any(error is None for error in stale)
        self.refused = None if fetched_any else next((error for error in stale if error is not None), None)
        self._targets = [target for target, error in zip(self._targets, stale, strict=True) if error is not None]

    def _attempt(self, target: Target, stop: Stop) -> MunimentError | None:
        try:
            if not self._is_there(target, stop):
                self._fetch_twice(target, stop)
        except store.Stale as stale:
            return stale.error
        return None

    def _fetch_twice(self, target: Target, stop: Stop) -> None:
        """Fetch a file; what looks damaged is fetched once more from its start before it is called so."""
        try:
            return with_retries(lambda: self._fetch(target, stop), stop)
        except Damaged:
            target.partial.unlink(missing_ok=True)
        try:
            return with_retries(lambda: self._fetch(target, stop), stop)
        except Damaged as damaged:
            target.partial.unlink(missing_ok=True)
            raise Conflict(
                "digest_mismatch",
                f"{target.file.path} is not what the manifest says",
                expected=damaged.expected,
                actual=damaged.actual,
                hint="nothing was put in its place; tell the operator of the registry: the stored bytes may be damaged",
            ) from damaged

    def _is_there(self, target: Target, stop: Stop) -> bool:
        if not target.place.is_file() or target.place.stat().st_size != target.file.size:
            return False
        digest, _ = sha256_of(target.place, lambda _count: None, stop)
        if digest != target.file.sha256:
            return False
        self._meter.add(target.file.size, target.file.path)
        return True

    def _fetch(self, target: Target, stop: Stop) -> None:
        file, partial = target.file, target.partial
        url = self._urls.get(file.path)
        if url is None:
            raise MunimentError("answer_unexpected", f"the server gave no URL for {file.path}")
        partial.parent.mkdir(parents=True, exist_ok=True)
        have = 0
        try:
            with partial.open("a+b") as out:
                _lock(out, partial)
                digest, have = _hash_so_far(out, stop)
                self._meter.add(have, file.path)
                with Landing(out, digest) as landing:
                    for begin, end in _stretches(have, file.size):
                        if have != begin:  # the store gave less or more than was asked for
                            break
                        with store.get(self._wire, url, begin, end) as chunks:
                            for chunk in chunks:
                                stop.check()
                                landing.write(chunk)
                                have += len(chunk)
                                self._meter.add(len(chunk), file.path)
                                if have > file.size:
                                    break
                    arrived = landing.finish()
                self._check(file, arrived, have)
                partial.replace(target.place)
        except BaseException:
            self._meter.add(-have, file.path)
            raise
        _make_durable(target.place.parent)

    def _check(self, file: ManifestFile, digest: str, have: int) -> None:
        expected = f"sha256:{file.sha256}, {file.size} B"
        if have < file.size:
            raise Transient("download_short", f"{file.path} ended early", expected=f"{file.size} B", actual=f"{have} B")
        if have > file.size:
            raise Damaged(expected, f"more than {file.size} B")
        if self._verify and digest != file.sha256:
            raise Damaged(expected, f"sha256:{digest}, {have} B")


def _stretches(begin: int, size: int) -> Iterator[tuple[int, int | None]]:
    """Where each request begins and ends; the last one asks for all that there is, to see whether it is too much."""
    while begin < size:
        end = begin + STRETCH if size - begin > STRETCH else None
        yield begin, end
        begin = size if end is None else end


def _hash_so_far(file: BinaryIO, stop: Stop) -> tuple[hashlib._Hash, int]:
    digest = hashlib.sha256()
    file.seek(0)
    have = 0
    while chunk := file.read(1024 * 1024):
        stop.check()
        digest.update(chunk)
        have += len(chunk)
    return digest, have


def _lock(file: BinaryIO, place: Path) -> None:
    """Make this process the only one that appends to a partial file."""
    if os.name != "posix":  # pragma: no cover  # reason: flock is POSIX; elsewhere two downloads may disturb each other
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = place.stat().st_ino == os.fstat(file.fileno()).st_ino
    except OSError:
        mine = False
    if not mine:
        raise Transient("download_in_progress", f"another process is downloading to {place}")


def _make_durable(folder: Path) -> None:
    if os.name != "posix":  # a directory cannot be opened elsewhere
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
