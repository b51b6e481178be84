"""The scrubber as calls: how it stands, a pass that is waited for, and good bytes put back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from muniment.contracts.errors import Rejected
from muniment.sdk.calls import parsed
from muniment.sdk.exchange import Call, Listing, Pause, Work, ask_json, request
from muniment.sdk.transfer.hashing import sha256_of
from muniment.sdk.transfer.progress import Meter, OnProgress, Progress
from muniment.sdk.transfer.scan import LocalFile
from muniment.sdk.transfer.upload import Upload
from muniment.sdk.workshop import Workshop, carry

_LOOK_EVERY_S: Final = 0.5
UNREADABLE_S: Final = 180.0
"""How long a pass is waited for when all that is left are objects that the store does not give.

Longer than the server takes to call that damage, which ends the pass: three reads, each of which a store that answers
with errors may hold for 40 s, and 25 s between them. What lasts longer is a store that gives nothing at all.
"""
_READ_WAIT_S: Final = 1800.0
"""How long a server may take to read what was put back: every byte of it."""


def status() -> Call[Any]:
    """How the scrubber stands."""
    return (yield from ask_json(request("registry", "GET", "/scrub")))


def damages(model: str | None) -> Listing:
    """Damaged objects, of a model or of all."""
    return Listing("registry", "/scrub/damages", {"model": model})


def start(model: str | None) -> Call[Any]:
    """Ask for a pass. Not repeated when the answer is lost: each is a pass of its own."""
    body = {} if model is None else {"model": model}
    return (yield from ask_json(request("registry", "POST", "/scrub/runs", body=body)))


def run(run_id: int) -> Call[Any]:
    """How far a pass is."""
    return (yield from ask_json(request("registry", "GET", f"/scrub/runs/{run_id:d}")))


def scrubbing(model: str | None, on_progress: OnProgress | None) -> Call[Any]:
    """Ask for a pass and wait for its end, or until what is left has not been readable for `UNREADABLE_S`.

    The answer's `finished_at` is None then, and `last_error` says why: the server goes on trying.
    """
    now = yield from start(model)
    stuck = 0.0
    while True:
        if on_progress is not None:
            on_progress(Progress("scrub", now["bytes_done"], now["size"]))
        if now["finished_at"] is not None:
            return now
        left = now["objects"] - now["objects_done"]
        stuck = stuck + _LOOK_EVERY_S if 0 < left <= now["waiting"] else 0.0
        if stuck > UNREADABLE_S:
            return now
        yield Pause(_LOOK_EVERY_S)
        now = yield from run(now["id"])


def repairing(
    shop: Workshop, ref: str, path: str, source: str | os.PathLike[str], on_progress: OnProgress | None
) -> Call[Any]:
    """Put good bytes of a damaged file back. The local file must have the digest; otherwise nothing is sent.

    Raises `Rejected` (`digest_mismatch`).
    """
    wanted = parsed(ref)
    place = f"/models/{quote(wanted.model, safe='')}/repairs"
    body = {"ref": str(wanted), "path": path}

    def slot() -> Call[Any]:
        return (yield from ask_json(request("registry", "POST", place, body=body, safe=True)))

    first = yield from slot()
    file = LocalFile.at(path, Path(source))
    meter = Meter("hash", file.size, on_progress)
    digest, size = yield Work(lambda stop: sha256_of(file.source, _counted(meter, path), stop))
    if (digest, size) != (first["sha256"], first["size"]):
        raise Rejected(
            "digest_mismatch",
            f"{source} is not what {path} of {ref} was",
            expected=f"sha256:{first['sha256']}, {first['size']} B",
            actual=f"sha256:{digest}, {size} B",
            hint="nothing was sent; find the very file that was published",
        )
    upload = Upload(shop.wire, [file], on_progress)
    upload.take([first])

    def fresh() -> Call[Any]:
        return [(yield from slot())]

    yield from carry(upload, fresh)
    (done,) = upload.completed()
    if not done.get("version_id"):
        raise Rejected(
            "version_id_missing",
            "the store did not tell the version-id of what was put",
            expected="the header x-amz-version-id",
            hint="a proxy before the store may take it away: MUNIMENT_S3__PUBLIC_ENDPOINT",
        )
    complete = {**body, "version_id": done["version_id"]}
    wanted_call = request("registry", "POST", f"{place}/complete", body=complete, safe=True, wait=_READ_WAIT_S)
    return (yield from ask_json(wanted_call))


def _counted(meter: Meter, path: str) -> Callable[[int], None]:
    return lambda count: meter.add(count, path)
