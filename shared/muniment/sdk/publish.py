"""Publishing and downloading as calls: what is asked of the server and what is done with threads, in order."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from muniment.contracts.errors import MunimentError
from muniment.sdk import calls
from muniment.sdk.exchange import Call, Work
from muniment.sdk.facts import event_fields
from muniment.sdk.manifest import read_manifest
from muniment.sdk.options import PublishOptions
from muniment.sdk.records import Publication, Version
from muniment.sdk.transfer.cache import Cache
from muniment.sdk.transfer.download import Download
from muniment.sdk.transfer.hashing import hash_files
from muniment.sdk.transfer.pool import Stop
from muniment.sdk.transfer.progress import Meter, OnProgress, Progress
from muniment.sdk.transfer.scan import LocalFile, Scan, Source, scan
from muniment.sdk.transfer.upload import Upload
from muniment.sdk.verify import MANIFEST_NAME, Verification, verify_directory
from muniment.sdk.wire import Wire

REMEMBERED_FROM: Final = 16 * 1024 * 1024
"""Publications of this many bytes and more are remembered while they upload, so that a later process goes on."""
FRUITLESS_ROUNDS: Final = 3
"""Rounds of fresh URLs of which the store may take none, before its refusal is believed."""
WAIT_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Workshop:
    """What moving bytes needs: connections to the store, this user's cache, and the server's name in that cache."""

    wire: Wire
    cache: Cache
    origin: str


def publishing(shop: Workshop, source: Source, model: str, options: PublishOptions) -> Call[Publication]:
    """Publish: hash here, ask for slots, upload what is not held, complete, wait."""
    roles, on_scan = options.pop("roles", {}), options.pop("on_scan", None)
    on_progress, own_key = options.pop("on_progress", None), options.pop("idempotency_key", None)
    wait, timeout = options.pop("wait", True), options.pop("timeout", WAIT_S)
    fields = event_fields(model, **options)  # type: ignore[misc]  # reason: what is left are its keyword arguments
    files, digests = yield Work(lambda stop: _read(source, shop.cache, on_scan, on_progress, stop))
    body = {**fields, "files": _declared(files, digests, roles)}
    remembers = own_key is None and sum(file.size for file in files) >= REMEMBERED_FROM
    memory = shop.cache if remembers else Cache(None)
    fingerprint = _fingerprint(shop.origin, body)
    started = yield from _begun(body, own_key, memory, fingerprint)
    upload = Upload(shop.wire, files, on_progress)
    upload.take(started.files)
    yield from _carry(upload, lambda: calls.slots(started.id))
    yield from calls.complete(started.id, upload.completed())
    memory.finish(fingerprint)
    if not wait:
        return (yield from calls.publication(started.id))
    return (yield from calls.settled(started.id, timeout, watch=_validation(on_progress)))


def downloading(
    shop: Workshop,
    ref: str,
    destination: str | os.PathLike[str],
    *,
    verify: bool,
    on_progress: OnProgress | None,
) -> Call[Version]:
    """Download a version: its manifest must have the digest that is its id, each file the one in the manifest."""
    version = yield from calls.version(ref)
    exact = f"{version.model}@{version.id}"
    manifest = read_manifest((yield from calls.manifest(exact)), expected_id=version.id)
    directory = Path(destination)
    download = Download(shop.wire, manifest.files, directory, verify=verify, on_progress=on_progress)

    def urls() -> Call[dict[str, str]]:
        return {file.path: file.url for file in (yield from calls.files(exact))}

    download.take((yield from urls()))
    yield from _carry(download, urls)
    yield Work(lambda _stop: _keep_manifest(directory, manifest.text))
    return version


def _carry(transfer: Upload | Download, fresh: Callable[[], Call[Any]]) -> Call[None]:
    """Run a transfer to its end, with fresh URLs whenever some went stale."""
    fruitless = 0
    while transfer.left:
        yield Work(transfer.run)
        if not transfer.left:
            return
        fruitless = fruitless + 1 if transfer.refused else 0
        if transfer.refused and fruitless >= FRUITLESS_ROUNDS:
            raise transfer.refused
        transfer.take((yield from fresh()))


def _begun(body: Mapping[str, Any], key: str | None, memory: Cache, fingerprint: str) -> Call[calls.Started]:
    remembered = memory.unfinished(fingerprint)
    if remembered is not None:
        started = yield from calls.begin(body, remembered)
        if (yield from calls.publication(started.id)).stage == "uploading":
            return started
    fresh = key or str(uuid.uuid4())
    memory.begin(fingerprint, fresh)
    return (yield from calls.begin(body, fresh))


def verifying(
    ref: str, directory: str | os.PathLike[str] | None, *, on_progress: OnProgress | None
) -> Call[Verification]:
    """Check that a version's manifest has the digest that is its id, and that a directory holds what it says."""
    version = yield from calls.version(ref)
    text = yield from calls.manifest(f"{version.model}@{version.id}")
    manifest = read_manifest(text, expected_id=version.id)
    if directory is None:
        size = sum(file.size for file in manifest.files)
        return Verification(version.id, str(version.model), len(manifest.files), size, ())
    found: Verification = yield Work(
        lambda stop: verify_directory(directory, manifest=manifest, on_progress=on_progress, stop=stop)
    )
    return found


def _read(
    source: Source,
    cache: Cache,
    on_scan: Callable[[Scan], None] | None,
    on_progress: OnProgress | None,
    stop: Stop,
) -> tuple[list[LocalFile], list[str]]:
    found = scan(source)
    if on_scan:
        on_scan(found)
    meter = Meter("hash", sum(file.size for file in found.files), on_progress)
    return found.files, hash_files(found.files, cache, meter, stop)


def _declared(files: Sequence[LocalFile], digests: Sequence[str], roles: Mapping[str, str]) -> list[dict[str, Any]]:
    unknown = set(roles) - {file.path for file in files}
    if unknown:
        raise MunimentError("role_without_file", "a role is given to a file that is not there", actual=sorted(unknown))
    return [
        {"path": file.path, "sha256": digest, "size": file.size, "role": roles.get(file.path, "file")}
        for file, digest in zip(files, digests, strict=True)
    ]


def _fingerprint(origin: str, body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps([origin, body], sort_keys=True).encode()).hexdigest()


def _validation(on_progress: OnProgress | None) -> Callable[[Publication], None] | None:
    if on_progress is None:
        return None

    def tell(now: Publication) -> None:
        if now.progress:
            on_progress(Progress("validate", now.progress["bytes_done"], now.progress["bytes_total"]))

    return tell


def _keep_manifest(directory: Path, text: bytes) -> None:
    place = directory / MANIFEST_NAME
    partial = place.with_name(f"{MANIFEST_NAME}.{uuid.uuid4().hex[:8]}.part")
    with partial.open("wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(place)
