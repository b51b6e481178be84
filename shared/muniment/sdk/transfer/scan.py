"""Which files a publication has: a directory's, or those that are named."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from muniment.contracts.errors import Conflict, NotFound, Rejected, TooLarge
from muniment.contracts.file_path import file_path

MAX_FILES: Final = 2_000
"""`contracts.manifest.MAX_FILES`, repeated since that module brings Pydantic in; a test compares the two."""
MAX_DEPTH: Final = 40

Source: TypeAlias = str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]] | Iterable[str | os.PathLike[str]]
"""A directory, a file, several files (named by their last part), or files by the paths they shall have."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file as it was when it was looked at; `path` is its name in the version."""

    path: str
    source: Path
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def at(cls, path: str, source: Path) -> LocalFile:
        """The file at `source`. Raises `NotFound` (`file_missing`) or `Rejected` (`file_not_regular`)."""
        try:
            found = source.stat()
        except OSError as error:
            raise NotFound("file_missing", f"{source} cannot be read: {error.strerror}") from error
        if not stat.S_ISREG(found.st_mode):
            raise Rejected("file_not_regular", f"{source} is no regular file", expected="files and directories only")
        return cls(file_path(path), source, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    def check_unchanged(self) -> None:
        """Raise `Conflict` (`file_changed`) if the file is no longer what was looked at."""
        try:
            now = self.source.stat()
            state = (now.st_size, now.st_mtime_ns, now.st_ino)
        except OSError:
            state = None
        if state != (self.size, self.mtime_ns, self.inode):
            raise file_changed(self)


def file_changed(file: LocalFile) -> Conflict:
    """The error of a file that was written to while it was being published."""
    return Conflict(
        "file_changed",
        f"{file.source} changed while it was being published",
        expected=f"{file.size} B, untouched since it was hashed",
        hint="publish again when nothing writes to it any more",
    )


@dataclass(frozen=True, slots=True)
class Scan:
    """The files to publish in order of their paths, and the hidden ones that were left out."""

    files: list[LocalFile]
    skipped: list[str] = field(default_factory=list)


def scan(source: Source) -> Scan:
    """The files of a source.

    Hidden files and directories (`.git`, `.cache`) are left out and listed. Links are followed inside the directory
    only. Raises `NotFound` (`file_missing`), `Rejected` (`file_link_outside`, `file_not_regular`, `file_path_invalid`,
    `file_path_repeated`, `no_files`) or `TooLarge` (`too_many_files`).
    """
    if isinstance(source, Mapping):
        return _checked((LocalFile.at(name, Path(place)) for name, place in source.items()), [])
    if isinstance(source, str | os.PathLike):
        root = Path(source)
        if root.is_dir():
            skipped: list[str] = []
            return _checked(_walk(root, skipped), skipped)
        return _checked([LocalFile.at(root.name, root)], [])
    return _checked((LocalFile.at(Path(place).name, Path(place)) for place in source), [])


def _checked(found: Iterable[LocalFile], skipped: list[str]) -> Scan:
    files: dict[str, LocalFile] = {}
    for file in found:
        key = file.path.casefold()
        if key in files:
            raise Rejected(
                "file_path_repeated",
                "two files have one path (case does not tell them apart)",
                actual=f"{files[key].source} and {file.source}",
            )
        files[key] = file
        if len(files) > MAX_FILES:
            raise TooLarge(
                "too_many_files",
                "there are too many files",
                expected=f"<= {MAX_FILES}",
                actual=f"> {MAX_FILES}",
                hint="pack what belongs together into one file",
            )
    if not files:
        raise Rejected("no_files", "there is nothing to publish", expected="at least one file that is not hidden")
    return Scan(sorted(files.values(), key=lambda file: file.path), sorted(skipped))


def _walk(root: Path, skipped: list[str]) -> Iterator[LocalFile]:
    inside = root.resolve()

    def visit(folder: Path, prefix: str, above: tuple[Path, ...]) -> Iterator[LocalFile]:
        if len(above) > MAX_DEPTH:
            raise TooLarge("too_deep", f"{folder} is nested too deeply", expected=f"<= {MAX_DEPTH} directories")
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            name = f"{prefix}{entry.name}"
            if entry.name.startswith("."):
                skipped.append(name)
                continue
            real = folder / entry.name
            if entry.is_symlink():
                real = real.resolve()
                if not real.is_relative_to(inside):
                    raise Rejected(
                        "file_link_outside",
                        f"{name} is a link that leaves the directory",
                        expected=f"a place inside {inside}",
                        actual=real,
                        hint="copy what it points to, or name the files one by one",
                    )
            if real.is_dir():
                if real.resolve() in above:
                    raise Rejected("file_link_loop", f"{name} is a link to a directory above it", actual=real)
                yield from visit(real, f"{name}/", (*above, real.resolve()))
            else:
                yield LocalFile.at(name, real)

    return visit(root, "", (inside,))
