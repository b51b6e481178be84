"""Downloading and verifying as calls: what is asked of the server and what is done with threads, in order."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from muniment.sdk import calls
from muniment.sdk.exchange import Call, Work
from muniment.sdk.manifest import read_manifest
from muniment.sdk.records import Version
from muniment.sdk.releases import copy_of
from muniment.sdk.transfer.download import Download
from muniment.sdk.transfer.progress import OnProgress
from muniment.sdk.verify import MANIFEST_NAME, Verification, verify_directory
from muniment.sdk.workshop import Workshop, carry


def downloading(
    shop: Workshop,
    ref: str,
    destination: str | os.PathLike[str],
    *,
    verify: bool,
    on_progress: OnProgress | None,
    force: bool = False,
) -> Call[Version]:
    """Download a version: its manifest must have the digest that is its id, each file the one in the manifest.

    With `force` damaged files come as they are, so none is checked.
    """
    version = yield from calls.version(ref)
    exact, own_id = copy_of(version)
    manifest = read_manifest((yield from calls.manifest(exact)), expected_id=own_id)
    directory = Path(destination)
    download = Download(shop.wire, manifest.files, directory, verify=verify and not force, on_progress=on_progress)

    def urls() -> Call[dict[str, str]]:
        return {file.path: file.url for file in (yield from calls.files(exact, force=force))}

    download.take((yield from urls()))
    yield from carry(download, urls)
    yield Work(lambda _stop: _keep_manifest(directory, manifest.text))
    return version


def verifying(
    ref: str, directory: str | os.PathLike[str] | None, *, on_progress: OnProgress | None
) -> Call[Verification]:
    """Check that a version's manifest has the digest that is its id, and that a directory holds what it says."""
    version = yield from calls.version(ref)
    exact, own_id = copy_of(version)
    manifest = read_manifest((yield from calls.manifest(exact)), expected_id=own_id)
    if directory is None:
        size = sum(file.size for file in manifest.files)
        return Verification(own_id, str(version.model), len(manifest.files), size, ())
    found: Verification = yield Work(
        lambda stop: verify_directory(directory, manifest=manifest, on_progress=on_progress, stop=stop)
    )
    return found


def _keep_manifest(directory: Path, text: bytes) -> None:
    place = directory / MANIFEST_NAME
    partial = place.with_name(f"{MANIFEST_NAME}.{uuid.uuid4().hex[:8]}.part")
    with partial.open("wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(place)
