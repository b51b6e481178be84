"""Where a log's files are read from: a folder, an archive, or a server. All by their tlog-tiles paths."""

from __future__ import annotations

import os
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, Final, Protocol
from urllib.parse import urlsplit

from muniment.verifier.errors import Unreadable

MAX_MEMBERS: Final = 4_000_000
MAX_UNPACKED: Final = 64 * 1024**3
_CHUNK: Final = 1024 * 1024
_TRIES: Final = 4


class Source(Protocol):
    """A log's files."""

    def read(self, path: str, at_most: int) -> bytes | None:
        """The bytes of one file; None if there is none. Raises `Unreadable`, also for more than `at_most` bytes."""
        ...


class Folder:
    """A folder that was exported or mirrored."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str, at_most: int) -> bytes | None:
        """See `Source`."""
        file = self._root / path
        try:
            if not file.is_file():  # a pipe in its place would wait for ever
                return None
            with file.open("rb") as opened:
                return _within(opened.read(at_most + 1), at_most, path)
        except OSError as error:
            raise Unreadable(f"{file}: {error.strerror or error}") from error

    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder, sorted."""
        try:
            return sorted(one.name for one in (self._root / folder).iterdir() if one.is_file())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Unreadable(f"{self._root / folder}: {error.strerror or error}") from error


class Zip:
    """A zip archive. Nothing is unpacked to disk; each member is read within its bound."""

    def __init__(self, file: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(file)
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise Unreadable(f"{file}: {error}") from error
        self._names = _members({name: name for name in self._zip.namelist() if not name.endswith("/")}, file)

    def read(self, path: str, at_most: int) -> bytes | None:
        """See `Source`."""
        name = self._names.get(path)
        if name is None:
            return None
        try:
            with self._zip.open(name) as member:
                return _within(member.read(at_most + 1), at_most, path)
        except (
            OSError,
            zipfile.BadZipFile,
            NotImplementedError,
            RuntimeError,
            EOFError,
            zlib.error,
            ValueError,
        ) as error:
            raise Unreadable(f"{path}: {error}") from error

    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder, sorted."""
        return _below(self._names, folder)


class Tar:
    """A tar archive. A compressed one is unpacked into a temporary file first, so that members can be found."""

    def __init__(self, file: Path) -> None:
        try:
            self._tar = tarfile.open(fileobj=_uncompressed(file), mode="r:")  # noqa: SIM115  # reason: open as long as self
            members = {one.name.removeprefix("./"): one for one in self._tar if one.isreg()}
        except (OSError, tarfile.TarError, EOFError, zlib.error, ValueError) as error:
            raise Unreadable(f"{file}: {error}") from error
        self._names = _members(members, file)

    def read(self, path: str, at_most: int) -> bytes | None:
        """See `Source`."""
        member = self._names.get(path)
        if member is None:
            return None
        try:
            opened = self._tar.extractfile(member)
            return None if opened is None else _within(opened.read(at_most + 1), at_most, path)
        except (OSError, tarfile.TarError, KeyError) as error:
            raise Unreadable(f"{path}: {error}") from error

    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder, sorted."""
        return _below(self._names, folder)


Archive = Folder | Zip | Tar


def open_path(path: Path) -> Archive:
    """A folder, or a zip or tar archive. Raises `Unreadable`."""
    if path.is_dir():
        return Folder(path)
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror or error}") from error
    return Zip(path) if start in {b"PK\x03\x04", b"PK\x05\x06"} else Tar(path)


class Server:
    """A log served over HTTP as C2SP tlog-tiles. `token` is sent as a bearer token.

    Redirects are not followed: a token must not go elsewhere, and a log is where its reader says it is.
    """

    def __init__(self, base: str, *, token: str | None = None, timeout_s: float = 30.0) -> None:
        if urlsplit(base).scheme not in {"http", "https"}:
            raise ValueError(f"{base} is no http or https URL")
        self._base = base.rstrip("/")
        self._headers = {"User-Agent": "muniment-verify"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._timeout_s = timeout_s
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
        ):
            self._opener.add_handler(handler)

    def read(self, path: str, at_most: int) -> bytes | None:
        """See `Source`. Asks again a few times where the server is away or busy."""
        url = f"{self._base}/{path}"
        for attempt in range(_TRIES):
            try:
                return _within(self._get(url, at_most), at_most, url)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code in (404, 410):
                        return None
                    if error.code not in (429, 500, 502, 503, 504) or attempt == _TRIES - 1:
                        raise Unreadable(f"{url}: HTTP {error.code} {error.reason}") from error
            except (OSError, EOFError, ValueError) as error:
                if attempt == _TRIES - 1:
                    raise Unreadable(f"{url}: {error}") from error
            time.sleep(0.2 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _get(self, url: str, at_most: int) -> bytes:
        import http.client

        request = urllib.request.Request(url, headers=self._headers)  # noqa: S310  # reason: http(s) alone, checked above
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                body: bytes = answer.read(at_most + 1)
        except http.client.HTTPException as error:
            raise OSError(f"{type(error).__name__}: {error}") from error
        return body


def read_file(path: Path, at_most: int) -> bytes:
    """A file's bytes. Raises `Unreadable`."""
    try:
        with path.open("rb") as file:
            return _within(file.read(at_most + 1), at_most, str(path))
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror or error}") from error


def _within(data: bytes, at_most: int, where: str) -> bytes:
    if len(data) > at_most:
        raise Unreadable(f"{where}: more than {at_most} bytes, which no such file has")
    return data


def _members(found: dict[str, Any], file: Path) -> dict[str, Any]:
    """The members by their paths below the folder of `checkpoint`: archives often have one folder at the top."""
    if len(found) > MAX_MEMBERS:
        raise Unreadable(f"{file}: more than {MAX_MEMBERS} members")
    tops = sorted((name for name in found if name.split("/")[-1] == "checkpoint"), key=len)
    top = tops[0].removesuffix("checkpoint") if tops else ""
    return {name.removeprefix(top): member for name, member in found.items() if name.startswith(top)}


def _below(names: dict[str, Any], folder: str) -> list[str]:
    start = f"{folder}/"
    below = (name.removeprefix(start) for name in names if name.startswith(start))
    return sorted(name for name in below if "/" not in name)


def _uncompressed(file: Path) -> IO[bytes]:
    import bz2
    import gzip
    import lzma

    opened = file.open("rb")
    start = os.pread(opened.fileno(), 6, 0)
    kinds = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open))
    unpack: Any = next((one for mark, one in kinds if start.startswith(mark)), None)
    if unpack is None:
        return opened
    target = tempfile.TemporaryFile()  # noqa: SIM115  # reason: given to the archive that reads it
    size = 0
    with opened, unpack(opened) as source:
        try:
            while chunk := source.read(_CHUNK):
                size += len(chunk)
                if size > MAX_UNPACKED:
                    raise Unreadable(f"{file}: unpacks to more than {MAX_UNPACKED} bytes")
                target.write(chunk)
        except lzma.LZMAError as error:
            raise Unreadable(f"{file}: {error}") from error
    target.seek(0)
    return target
