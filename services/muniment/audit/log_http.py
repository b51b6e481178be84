"""The published log over HTTP: checkpoint and tiles as C2SP tlog-tiles names them, proofs, and the log's keys."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field, StrictInt

from muniment.audit.keyring import Keyring, LogKey
from muniment.audit.published import PublishedLog
from muniment.audit.store import MAX_INDEX
from muniment.audit.tiles import parse_path
from muniment.contracts.errors import Rejected
from muniment.contracts.identity import Principal
from muniment.contracts.model import Payload, rfc3339
from muniment.contracts.strict_json import check_text
from muniment.ports.clock import Clock
from muniment.runtime.http.auth import role
from muniment.runtime.http.requests import body, cause_of

Auditor = Annotated[Principal, Depends(role("auditor"))]
Admin = Annotated[Principal, Depends(role("admin"))]
Size = Annotated[int | None, Query(ge=0, le=MAX_INDEX)]
TEXT: Final = "text/plain; charset=utf-8"
_BYTES: Final = "application/octet-stream"
# Private: answers are for auditors, and no shared cache may hand them to others.
_FOR_EVER: Final = {"cache-control": "private, max-age=31536000, immutable"}
_FRESH: Final = {"cache-control": "no-cache"}


class Rotation(Payload):
    """How a new key takes over."""

    overlap_days: Annotated[StrictInt, Field(ge=0, le=3650)] = 30
    """How long the keys before it sign beside it."""


def add_log(routes: APIRouter, log: PublishedLog) -> None:
    """Checkpoint, tiles and proofs, for auditors."""

    @routes.get("/log/checkpoint", response_class=Response)
    async def audit_checkpoint(_: Auditor) -> Response:
        """The newest checkpoint: a signed note with the log's origin, size and root hash."""
        return Response((await log.checkpoint()).note, media_type=TEXT, headers=_FRESH)

    @routes.get("/log/tile/{place:path}", response_class=Response)
    async def audit_tile(_: Auditor, place: str) -> Response:
        """A tile of hashes (`LEVEL/INDEX`) or a bundle of entries (`entries/INDEX`), `.p/WIDTH` for a partial one."""
        tile = parse_path(f"tile/{place}")
        return Response(await log.tile(tile), media_type=_BYTES, headers=_FOR_EVER)

    @routes.get("/proof", response_class=Response)
    async def audit_proof(
        _: Auditor,
        index: Annotated[int | None, Query(ge=0, le=MAX_INDEX)] = None,
        event: Annotated[str | None, Query(max_length=1024, description="the entry's event_id")] = None,
        entry: Annotated[bool, Query(description="put the entry itself into the receipt's extra line")] = True,
    ) -> Response:
        """The receipt (`.tlog-proof`) of one entry: it proves, offline, that the checkpoint's log has it."""
        if (index is None) == (event is None):
            raise Rejected(
                "audit_entry_unnamed",
                "a proof is for one entry",
                expected="index or event, one of the two",
                actual="neither" if index is None else "both",
            )
        if event is not None:
            check_text(event)  # a NUL is nothing that the database could look for
            index = await log.index_of(event)
        return Response(await log.receipt(index or 0, with_entry=entry), media_type=TEXT, headers=_FRESH)

    @routes.get("/consistency")
    async def audit_consistency(
        _: Auditor, old: Annotated[int, Query(alias="from", ge=0, le=MAX_INDEX)], to: Size = None
    ) -> dict[str, Any]:
        """That the log of size `to` (the newest checkpoint's unless given) begins with the log of size `from`."""
        found = await log.consistency(old, to)
        return {
            "from": found.old,
            "to": found.new,
            "from_root": found.old_root.hex(),
            "to_root": found.new_root.hex(),
            "hashes": [base64.b64encode(one).decode() for one in found.hashes],
        }


def add_keys(routes: APIRouter, keyring: Keyring, clock: Clock) -> None:
    """The keys that sign checkpoints."""

    @routes.get("/keys")
    async def list_audit_keys(_: Auditor) -> dict[str, Any]:
        """The log's origin and every key that has signed for it, oldest first."""
        keys = await keyring.keys()
        return {"origin": await keyring.origin(), "items": [_key(one, clock) for one in keys]}

    @routes.post("/keys", status_code=201)
    async def rotate_audit_keys(
        request: Request, by: Admin, wanted: Annotated[Rotation, Depends(body(Rotation))]
    ) -> dict[str, Any]:
        """Let a new key sign checkpoints; those before it sign beside it for `overlap_days`."""
        made = await keyring.rotate(
            timedelta(days=wanted.overlap_days),
            operator=by.operator,
            authenticated_by=by.authenticated_by,
            cause=cause_of(request),
        )
        return _key(made, clock)


def _key(one: LogKey, clock: Clock) -> dict[str, Any]:
    return {
        "vkey": one.key.vkey,
        "key_id": one.key.key_id.hex(),
        "added_at": rfc3339(one.added_at),
        "signs_until": None if one.signs_until is None else rfc3339(one.signs_until),
        "signs": one.signs(clock.now()),
    }
