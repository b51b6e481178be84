"""Registries that have lived, their logs, and rebuilds of them."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from muniment.adapters.postgres import connect
from muniment.audit.domain import Request, build_entry
from muniment.contracts import topics
from muniment.contracts.canonical import canonical_json
from muniment.contracts.cloudevent import decode
from muniment.contracts.events import AuditRequested
from muniment.contracts.oms.keys import SigningKey, new_signing_key
from muniment.contracts.oms.statement import FileDigest, statement_bytes
from muniment.registry.rebuilding.entries import NO_MODEL, Entry, read_entry
from muniment.registry.rebuilding.manifests import Manifests
from muniment.registry.rebuilding.work import Rebuild
from muniment.runtime.delivery.header_text import unpack_headers

from .conftest import BUCKET, PREFIX, Registry

if TYPE_CHECKING:
    from muniment.registry.rebuilding.work import Connection

TRACKS = [("production", "COMPLIANCE", 60), ("experimental", "COMPLIANCE", 60)]


@dataclass
class OutboxLog:
    """The audit entries that the outbox's requests become."""

    entries_: list[Entry]

    async def models(self) -> list[str]:
        return [entry.model for entry in self.entries_ if entry.model != NO_MODEL]

    async def entries(self, model: str) -> AsyncIterator[Entry]:
        for entry in self.entries_:
            if entry.model == model:
                yield entry

    async def received(self) -> AsyncIterator[Entry]:
        for entry in self.entries_:
            if entry.model == NO_MODEL:
                yield entry


async def log_of(registry: Registry) -> OutboxLog:
    """Through the audit service's own code, so that what it digests is digested."""
    rows = await registry.pool.fetch(
        "SELECT payload, headers FROM outbox WHERE aggregatetype = $1 ORDER BY seq",
        topics.AUDIT_REQUESTED.wire_name(PREFIX),
    )
    entries = []
    for index, row in enumerate(rows):
        event = decode(unpack_headers(row["headers"]), bytes(row["payload"]))
        request = Request(event.id, event.extensions["correlationid"], AuditRequested.model_validate_json(event.data))
        entry = read_entry(index, build_entry(request, datetime.now(UTC))[0])
        if entry is not None:
            entries.append(entry)
    return OutboxLog(entries)


@asynccontextmanager
async def databases(registry: Registry, dsn: str) -> AsyncIterator[tuple[Connection, Connection]]:
    """The live database, and the fresh one."""
    name = await registry.pool.fetchval("SELECT current_database()")
    live = await connect(re.sub(r"/rebuilt_\w+", f"/{name}", dsn), "registry")
    target = await connect(dsn, "registry")
    try:
        yield live, target
    finally:
        await live.close()
        await target.close()


async def rebuilt(registry: Registry, live: Connection, target: Connection) -> Rebuild:
    """A rebuild that is written and compared."""
    work = Rebuild(await log_of(registry), Manifests(registry.blobs, BUCKET))
    await work.write(target, TRACKS)
    await work.compare(live, target)
    return work


def digest(data: bytes) -> str:
    """Lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


async def lived(registry: Registry, model: str = "digits") -> None:
    """Versions on branches, equal bytes, parents, long texts, a match, candidates, a reproduction, a signature: what may be lost."""
    first = await registry.commit(model, files={"a.bin": b"same", "b.bin": b"other"}, accuracy=0.9)
    await registry.commit(model, branch="exp/a", files={"a.bin": b"same"}, operator="muniment|bob", track="production")
    child = {"parents": [{"id": first["id"], "kind": "fine-tune"}], "run_id": "child"}
    statement = statement_bytes("alpha", [FileDigest("w", digest(b"w"))])
    signed = {"w": b"w", "model.sig": canonical_json(SigningKey(new_signing_key()).sign(statement))}
    await registry.commit("alpha", facts=child, files=signed)  # sorts before its parent's model
    told = await registry.validated(model, "main", publication=str(uuid.uuid4()), facts={"run_id": "told"})
    long = {"description": "länger " * 2000, "tags": {f"tag{n}": "x" * 100 for n in range(50)}}
    again = await registry.validated(model, "main", publication=str(uuid.uuid4()), facts={"run_id": "again"})
    await registry.take(told.model_copy(update=long), again.model_copy(update={"reproduces": first["id"]}))
    match = await registry.validated("alpha", "exp/same", publication=str(uuid.uuid4()), facts=child, files=signed)
    await registry.take(match)
    for fate in ("commit", "refuse", None):
        publication = str(uuid.uuid4())
        wish = await registry.validated(model, "exp/c", publication=publication, facts={"run_id": publication})
        await registry.take(wish.model_copy(update={"commit": "manual"}))
        if fate == "commit":
            await registry.post(f"/candidates/{publication}/commit", tags={"picked": "yes"})
        elif fate == "refuse":
            await registry.post(f"/candidates/{publication}/refuse", reason="no", status=204)


async def governed(registry: Registry) -> None:
    """Every verb on a model's names, refusals too."""
    model = "/models/digits"

    async def revert(action: str) -> None:
        entries = [one for one in (await log_of(registry)).entries_ if one.action == action]
        rows = await registry.pool.fetch("SELECT audit_event FROM reversible ORDER BY changed_at")
        assert entries
        assert rows
        await registry.post(f"{model}/revert", event_id=rows[-1]["audit_event"], reason="a mistake")

    await registry.commit(accuracy=0.9)
    await registry.post(f"{model}/promote", ref="digits/1", reason="first")
    await registry.post(f"{model}/branches", status=201, name="exp/a", reason="a try")
    await registry.commit(branch="exp/a", accuracy=0.95)
    await registry.post(f"{model}/promote", ref="digits@exp/a", reason="forward")
    await registry.post(f"{model}/branches", status=201, name="exp/b", ref="digits/1")
    await registry.commit(branch="exp/b", accuracy=0.96)
    await registry.commit(accuracy=0.94)
    await registry.post(f"{model}/promote", ref="digits@exp/b", reason="merged")
    await registry.post(f"{model}/rollback", reason="too slow")
    await registry.refused("PUT", f"{model}/pointers/baseline", "pointer_protected", json={"ref": "digits/1"})
    for name in ("champion", "canary"):
        await registry.call("PUT", f"{model}/pointers/{name}", json={"ref": "digits/1", "reason": "good"})
    await registry.call("PUT", f"{model}/pointers/champion", json={"ref": "digits/2"})
    await revert("pointer.moved")
    await registry.call("DELETE", f"{model}/pointers/canary", status=204)
    for state in ({"closed": True}, {"closed": False}, {"protected": True}):
        await registry.call("PATCH", f"{model}/branches/exp/a", json=state)
    demands = {"tolerances": [{"metric": "accuracy", "absolute": 0.01}], "checks": ["bias"], "approvals": 1}
    await registry.call("PUT", f"{model}/contract", json=demands)
    await registry.post(f"{model}/freeze", reason="audit week")
    await registry.refused("POST", f"{model}/promote", "promotion_refused", json={"ref": "digits/1", "reason": "no"})
    await registry.post(f"{model}/describe", ref="digits/1", description="long " * 500, tags={"a": "1", "b": "2"})
    await registry.post(f"{model}/describe", ref="digits/1", description=None, tags={"a": None})
    await registry.post(f"{model}/releases", version="1.0.0", ref="digits", notes="the first " * 200)
    await registry.post(f"{model}/releases", version="1.1.0-rc.1", ref="digits/3")
    await registry.post(f"{model}/delete", ref="digits/4", reason="not needed")
