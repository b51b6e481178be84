"""Writing a version's recipe into a folder, as a call: what is asked of the server, and what is done with threads."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from muniment.contracts.errors import Conflict
from muniment.sdk import calls
from muniment.sdk.exchange import Call, Work
from muniment.sdk.manifest import read_manifest
from muniment.sdk.records import Version
from muniment.sdk.reproducing import PATCH, Recipe, recipe
from muniment.sdk.transfer.download import Download
from muniment.sdk.workshop import Workshop, carry


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A folder that was written: its version, the names of its files, and what the run did not say."""

    version: Version
    directory: Path
    files: tuple[str, ...]
    missing: tuple[str, ...]


def reproducing(shop: Workshop, ref: str, destination: str | os.PathLike[str]) -> Call[Reproduction]:
    """Write what it takes to run a version's training again into a new or empty folder.

    Raises `Conflict` (`folder_not_empty`, `manifest_mismatch`, `digest_mismatch`).
    """
    directory = Path(destination)
    yield Work(lambda _stop: _must_be_empty(directory))
    version = yield from calls.version(ref)
    exact = f"{version.model}@{version.id}"
    manifest = read_manifest((yield from calls.manifest(exact)), expected_id=version.id)
    made = recipe(manifest, version.ref)
    if made.patch is not None:
        yield from _fetch_patch(shop, exact, made, directory)
    yield Work(lambda _stop: _write(directory, made))
    names = sorted([*made.files, *([PATCH] if made.patch else [])])
    return Reproduction(version, directory, tuple(names), made.missing)


def _fetch_patch(shop: Workshop, exact: str, made: Recipe, directory: Path) -> Call[None]:
    assert made.patch is not None  # noqa: S101  # reason: the caller has looked
    source = made.patch.path
    download = Download(shop.wire, [replace(made.patch, path=PATCH)], directory, verify=True, on_progress=None)

    def urls() -> Call[dict[str, str]]:
        found = {file.path: file.url for file in (yield from calls.files(exact))}
        return {PATCH: found[source]}

    download.take((yield from urls()))
    yield from carry(download, urls)


def _must_be_empty(directory: Path) -> None:
    if directory.is_dir() and not any(directory.iterdir()):
        return
    if directory.exists():
        raise Conflict(
            "folder_not_empty",
            "nothing is overwritten: the folder is not empty",
            expected="a new or an empty folder",
            actual=str(directory),
            hint="name another folder",
        )


def _write(directory: Path, made: Recipe) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in made.files.items():
        # No mode of its own: nothing in the folder can be executed by its name alone.
        with (directory / name).open("xb") as file:
            file.write(content)
