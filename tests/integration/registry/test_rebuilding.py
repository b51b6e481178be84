"""The registry made anew from its audit entries and the manifests in the store, and compared with the live one."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from muniment.adapters.postgres import connect
from muniment.audit.domain import Request, build_entry
from muniment.contracts import topics
from muniment.contracts.canonical import canonical_json
from muniment.contracts.cloudevent import decode
from muniment.contracts.errors import Conflict
from muniment.contracts.events import AuditRequested
from muniment.contracts.oms.keys import SigningKey, new_signing_key
from muniment.contracts.oms.statement import FileDigest, statement_bytes
from muniment.registry.rebuilding.comparing import TABLES
from muniment.registry.rebuilding.entries import Entry, read_entry
from muniment.registry.rebuilding.manifests import Manifests
from muniment.registry.rebuilding.work import Rebuild, rows_of
from muniment.runtime.delivery.header_text import unpack_headers
from muniment.server.parts import Parts

from .conftest import BUCKET, PREFIX, Registry

if TYPE_CHECKING:
    from muniment.registry.rebuilding.work import Connection

TRACKS = [("production", "COMPLIANCE", 60), ("experimental", "COMPLIANCE", 60)]


@dataclass
class OutboxLog:
    """The audit entries that the outbox's requests become."""

    entries_: list[Entry]

    async def models(self) -> list[str]:
        return [entry.model for entry in self.entries_]

    async def entries(self, model: str) -> AsyncIterator[Entry]:
        for entry in self.entries_:
            if entry.model == model:
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


@pytest.fixture
async def fresh(parts: Parts, registry_template: str) -> AsyncIterator[str]:
    """The DSN of another, empty registry."""
    name = f"rebuilt_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(parts.postgres.dsn)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {registry_template}")
        yield parts.postgres.dsn.replace("/muniment?", f"/{name}?")
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


async def lived(registry: Registry) -> None:
    """Versions on branches, equal bytes, parents, long texts, a match, candidates, a reproduction, a signature."""
    first = await registry.commit(files={"a.bin": b"same", "b.bin": b"other"}, accuracy=0.9)
    await registry.commit(branch="exp/a", files={"a.bin": b"same"}, operator="muniment|bob", track="production")
    child = {"parents": [{"id": first["id"], "kind": "fine-tune"}], "run_id": "child"}
    statement = statement_bytes("alpha", [FileDigest("w", digest(b"w"))])
    signed = {"w": b"w", "model.sig": canonical_json(SigningKey(new_signing_key()).sign(statement))}
    await registry.commit("alpha", facts=child, files=signed)  # sorts before its parent's model
    told = await registry.validated("digits", "main", publication=str(uuid.uuid4()), facts={"run_id": "told"})
    long = {"description": "länger " * 2000, "tags": {f"tag{n}": "x" * 100 for n in range(50)}}
    again = await registry.validated("digits", "main", publication=str(uuid.uuid4()), facts={"run_id": "again"})
    await registry.take(told.model_copy(update=long), again.model_copy(update={"reproduces": first["id"]}))
    match = await registry.validated("alpha", "exp/same", publication=str(uuid.uuid4()), facts=child, files=signed)
    await registry.take(match)
    for fate in ("commit", "refuse", None):
        publication = str(uuid.uuid4())
        wish = await registry.validated("digits", "exp/c", publication=publication, facts={"run_id": publication})
        await registry.take(wish.model_copy(update={"commit": "manual"}))
        if fate == "commit":
            await registry.post(f"/candidates/{publication}/commit", tags={"picked": "yes"})
        elif fate == "refuse":
            await registry.post(f"/candidates/{publication}/refuse", reason="no", status=204)


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


async def test_a_rebuilt_registry_agrees_and_a_changed_row_is_named(
    registry: Registry, fresh: str, parts: Parts
) -> None:
    await lived(registry)
    async with databases(registry, fresh) as (live, target):
        first = await rebuilt(registry, live, target)
        report = first.report.as_json()
        assert report["problems"] == []
        assert report["differences"] == []
        assert report["unknown_actions"] == {}
        assert (report["models"], report["versions"]) == (2, 6)
        compared = report["rows_compared"]
        assert (compared["version"], compared["version_file"], compared["version_parent"]) == (6, 8, 1)
        assert (compared["branch_move"], compared["reproduction"], compared["candidate"]) == (7, 1, 3)
        assert compared["version_signature"] == 1

        await tamper(registry, parts)
        again = Rebuild(first.log, first.manifests, candidates=first.candidates)
        with pytest.raises(Conflict, match="fresh database"):
            await again.write(target, TRACKS)
        await again.compare(live, target)
    found = again.report.as_json()["differences"]
    assert sorted((one["table"], one["key"], one["column"]) for one in found) == [
        ("branch_move", "alpha/exp/same/1", None),
        ("version", "digits/2", "operator"),
        ("version_file", "alpha/1/w", "version_id"),
        ("version_file", "digits/1/b.bin", "format"),
        ("version_file", "digits/1/b.bin", "locked_until"),
    ]
    (operator,) = (one for one in found if one["column"] == "operator")
    assert (operator["live"], operator["rebuilt"]) == ("muniment|mallory", "muniment|bob")


async def tamper(registry: Registry, parts: Parts) -> None:
    """Change the live database as only its owner can."""
    name = await registry.pool.fetchval("SELECT current_database()")
    dsn = parts.postgres.dsn.replace("/muniment?", f"/{name}?")
    owner = await asyncpg.connect(dsn, server_settings={"search_path": "registry"})
    try:
        await owner.execute("ALTER TABLE version DISABLE TRIGGER version_is_immutable")
        await owner.execute("UPDATE version SET operator = 'muniment|mallory' WHERE number = 2")
        await owner.execute("UPDATE version_file SET format = 'safetensors' WHERE path = 'b.bin'")
        await owner.execute("DELETE FROM branch_move WHERE branch = 'exp/same'")
        await owner.execute("UPDATE stored_object SET version_id = 'gone' WHERE sha256 = $1", digest(b"w"))
        await owner.execute("UPDATE stored_object SET locked_until = '2199-01-01' WHERE sha256 = $1", digest(b"other"))
    finally:
        await owner.close()


def digest(data: bytes) -> str:
    """Lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


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


async def test_every_verb_on_names_is_in_the_log_well_enough_to_be_made_again(registry: Registry, fresh: str) -> None:
    await governed(registry)
    async with databases(registry, fresh) as (live, target):
        report = (await rebuilt(registry, live, target)).report.as_json()
    assert report["problems"] == []
    assert report["differences"] == []
    assert report["unknown_actions"] == {}
    compared = report["rows_compared"]
    assert (compared["pointer_move"], compared["release"], compared["tombstone"]) == (9, 2, 1)


async def test_a_manifest_that_the_store_has_lost_is_named(registry: Registry, fresh: str) -> None:
    made = await registry.commit()
    registry.blobs._objects.bucket(BUCKET).keys.pop(made["manifest_location"]["key"])  # locked: no method can
    async with databases(registry, fresh) as (live, target):
        report = (await rebuilt(registry, live, target)).report.as_json()
    assert made["id"] in report["problems"][0]
    named = {(one["table"], one["key"], one["column"]) for one in report["differences"]}
    assert ("version", "digits/1", "manifest") in named


async def test_every_kind_of_row_is_written(registry: Registry, fresh: str) -> None:
    first, second = await registry.commit(files={"w": b"1"}), await registry.commit(files={"w": b"2"})
    text = canonical_json({"model": "digits", "files": first["manifest"]["files"], "release": "1.0.0"})
    release = f"sha256:{digest(text)}"
    place = await registry.blobs.put(BUCKET, "manifests/digits/release.json", text)
    log = await log_of(registry)

    def then(action: str, resource: str, reason: str | None = None, **changes: tuple[Any, Any]) -> None:
        sides = tuple({"path": path, "before": before, "after": after} for path, (before, after) in changes.items())
        resource = f"models/digits/{resource}"
        later = {"index": len(log.entries_), "action": action, "resource": resource, "reason": reason, "changes": sides}
        log.entries_.append(replace(log.entries_[-1], **later))

    then("baseline.promoted", "pointers/baseline", "good", **{"pointers/baseline": (None, second["id"])})
    then("baseline.rolled_back", "pointers/baseline", "bad", **{"pointers/baseline": (second["id"], first["id"])})
    then("contract.changed", "contract", tolerances=(None, [{"metric": "a", "bound": 1}]), checks=(None, ["bias"]))
    then("version.deleted", "versions/2", "wrong data")
    then(
        "release.published",
        "releases/1.0.0",
        release=(None, release),
        source=(None, first["id"]),
        precedence=(None, "01ff"),
        track=(None, "production"),
        copy=(None, "logical"),
        manifest=(None, {"bucket": BUCKET, "key": place.key, "version_id": place.version_id}),
    )
    then("model.painted", "")
    async with databases(registry, fresh) as (_, target):
        work = Rebuild(log, Manifests(registry.blobs, BUCKET))
        await work.write(target, TRACKS)
        assert (work.report.problems, dict(work.report.unknown)) == ([], {"model.painted": 1})
        async with target.transaction():
            kept = {table.name: [dict(row) async for row in rows_of(target, table)] for table in TABLES}
    (pointer,), moves = kept["pointer"], kept["pointer_move"]
    assert (pointer["name"], pointer["number"], pointer["revision"]) == ("baseline", 1, 2)
    assert [(row["verb"], row["from_number"], row["to_number"]) for row in moves] == [
        ("promote", None, 2), ("rollback", 2, 1),
    ]  # fmt: skip
    (contract,), (tombstone,) = kept["contract"], kept["tombstone"]
    assert (contract["tolerances"], contract["checks"]) == ([{"metric": "a", "bound": 1}], ["bias"])
    assert (tombstone["number"], tombstone["reason"]) == (2, "wrong data")
    (published,), (file,) = kept["release"], kept["release_file"]
    assert (published["id"], published["manifest"], published["precedence"]) == (release, release, "01ff")
    assert (file["path"], file["sha256"]) == ("w", digest(b"1"))


async def test_entries_that_say_less_are_read_all_the_same(registry: Registry, fresh: str) -> None:
    await registry.commit()
    log = await log_of(registry)
    kept = {"version", "number", "branches/main", "track"}  # what commits told before they told more
    log.entries_ = [
        replace(entry, changes=tuple(one for one in entry.changes if one["path"] in kept | {"name", "head"}))
        for entry in log.entries_
    ]
    async with databases(registry, fresh) as (live, target):
        work = Rebuild(log, Manifests(registry.blobs, BUCKET))
        await work.write(target, TRACKS)
        await work.compare(live, target)
    assert work.report.as_json()["ok"]
