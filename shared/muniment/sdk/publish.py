"""Publishing as a call: what is asked of the server and what is done with threads, in order."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from muniment.contracts.errors import MunimentError
from muniment.sdk import calls
from muniment.sdk.exchange import Call, Work
from muniment.sdk.facts import event_fields
from muniment.sdk.options import PublishOptions
from muniment.sdk.records import Publication
from muniment.sdk.transfer.cache import Cache
from muniment.sdk.transfer.hashing import hash_files
from muniment.sdk.transfer.pool import Stop
from muniment.sdk.transfer.progress import Meter, OnProgress, Progress
from muniment.sdk.transfer.scan import LocalFile, Scan, Source, scan
from muniment.sdk.transfer.upload import Upload
from muniment.sdk.workshop import Workshop, carry

REMEMBERED_FROM: Final = 16 * 1024 * 1024
"""Publications of this many bytes and more are remembered while they upload, so that a later process goes on."""
WAIT_S: Final = 3600.0


def publishing(shop: Workshop, source: Source, model: str, options: PublishOptions) -> Call[Publication]:
    """Publish: hash here, ask for slots, upload what is not held, complete, wait."""
    roles, on_scan = options.pop("roles", {}), options.pop("on_scan", None)
    on_progress, own_key = options.pop("on_progress", None), options.pop("idempotency_key", None)
    wait, timeout = options.pop("wait", True), options.pop("timeout", WAIT_S)
    if options.get("reproduces"):
        options["reproduces"] = yield from _id_of(str(options["reproduces"]))
    if options.get("parents"):
        options["parents"] = yield from _parents(options["parents"])
    fields = event_fields(model, **options)  # type: ignore[misc]  # reason: what is left are its keyword arguments
    files, digests = yield Work(lambda stop: _read(source, shop.cache, on_scan, on_progress, stop))
    body = {**fields, "files": _declared(files, digests, roles)}
    remembers = own_key is None and sum(file.size for file in files) >= REMEMBERED_FROM
    memory = shop.cache if remembers else Cache(None)
    fingerprint = _fingerprint(shop.origin, body)
    started = yield from _begun(body, own_key, memory, fingerprint)
    upload = Upload(shop.wire, files, on_progress)
    upload.take(started.files)
    yield from carry(upload, lambda: calls.slots(started.id))
    yield from calls.complete(started.id, upload.completed())
    memory.finish(fingerprint)
    if not wait:
        return (yield from calls.publication(started.id))
    return (yield from calls.settled(started.id, timeout, watch=_validation(on_progress)))


def _id_of(ref: str) -> Call[str]:
    """The id of the version that a reference means now: what a name means later is another matter."""
    if ref.startswith("sha256:"):
        return ref
    return (yield from calls.version(ref)).id


def _parents(given: Iterable[str | Mapping[str, Any]]) -> Call[list[dict[str, Any]]]:
    """Parents by their ids, where they were given by references."""
    found = []
    for parent in given:
        fields = {"id": parent} if isinstance(parent, str) else dict(parent)
        found.append({**fields, "id": (yield from _id_of(str(fields.get("id", ""))))})
    return found


def _begun(body: Mapping[str, Any], key: str | None, memory: Cache, fingerprint: str) -> Call[calls.Started]:
    remembered = memory.unfinished(fingerprint)
    if remembered is not None:
        started = yield from calls.begin(body, remembered)
        if (yield from calls.publication(started.id)).stage == "uploading":
            return started
    fresh = key or str(uuid.uuid4())
    memory.begin(fingerprint, fresh)
    return (yield from calls.begin(body, fresh))


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
