"""Does a directory hold exactly what a manifest says?"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from muniment.contracts.errors import NotFound, Rejected
from muniment.sdk.manifest import ManifestFile, ManifestText, read_manifest
from muniment.sdk.transfer.hashing import sha256_of
from muniment.sdk.transfer.pool import Stop, run_all
from muniment.sdk.transfer.progress import Meter, OnProgress
from muniment.sdk.transfer.scan import scan

MANIFEST_NAME: Final = ".muniment-manifest.json"
"""Where `download` leaves the manifest, byte by byte: its SHA-256 is the version id. Hidden, so never published."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One way in which a directory differs from the manifest."""

    kind: str
    """`missing`, `changed` or `extra`."""
    path: str
    expected: str | None = None
    actual: str | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """What came out. `files` and `bytes` count what was read and found right."""

    id: str
    model: str
    files: int
    bytes: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.problems


def verify_directory(
    directory: str | os.PathLike[str],
    *,
    manifest: ManifestText | None = None,
    expected_id: str | None = None,
    on_progress: OnProgress | None = None,
    stop: Stop | None = None,
) -> Verification:
    """Re-hash a directory against a manifest: the given one, else the one that `download` left in it. No network.

    Without `expected_id` or a manifest from elsewhere this proves that directory and manifest fit each other; that
    they are the version you mean is in the id, so compare it. Raises `NotFound` (`manifest_missing`, `file_missing`),
    `Conflict` (`manifest_mismatch`).
    """
    root = Path(directory)
    wanted = manifest or _kept_manifest(root, expected_id)
    halt = stop or Stop()
    meter = Meter("verify", sum(file.size for file in wanted.files), on_progress)

    def check(file: ManifestFile) -> Problem | None:
        path, size, digest = file.path, file.size, file.sha256
        place = root / path
        expected = f"sha256:{digest}"
        if not place.is_file():
            return Problem("missing", path, expected=expected)
        if place.stat().st_size != size:
            return Problem("changed", path, expected=f"{size} B", actual=f"{place.stat().st_size} B")
        actual, _ = sha256_of(place, lambda count: meter.add(count, path), halt)
        return None if actual == digest else Problem("changed", path, expected=expected, actual=f"sha256:{actual}")

    found = run_all((partial(check, file) for file in wanted.files), workers=min(8, os.cpu_count() or 1), stop=halt)
    problems = [problem for problem in found if problem is not None]
    named = {file.path for file in wanted.files}
    problems += [Problem("extra", path) for path in sorted(_paths_in(root) - named)]
    bad = {problem.path for problem in problems}
    right = [file for file in wanted.files if file.path not in bad]
    model = str(wanted.content["model"])
    return Verification(wanted.id, model, len(right), sum(file.size for file in right), tuple(problems))


def _paths_in(root: Path) -> set[str]:
    if not root.is_dir():
        return set()
    try:
        return {file.path for file in scan(root).files}
    except Rejected as error:
        if error.code == "no_files":
            return set()
        raise


def _kept_manifest(root: Path, expected_id: str | None) -> ManifestText:
    try:
        text = (root / MANIFEST_NAME).read_bytes()
    except OSError as error:
        raise NotFound(
            "manifest_missing",
            f"{root} has no {MANIFEST_NAME}",
            hint=f"name the version to compare with: muniment verify REF --dir {root}",
        ) from error
    return read_manifest(text, expected_id=expected_id)
