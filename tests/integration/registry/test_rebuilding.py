"""The registry made anew from its audit entries and the manifests in the store, and compared with the live one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from muniment.contracts.canonical import canonical_json
from muniment.contracts.errors import Conflict
from muniment.ports.blobs import Location, Lock
from muniment.registry.rebuilding.comparing import TABLES
from muniment.registry.rebuilding.manifests import Manifests
from muniment.registry.rebuilding.work import Rebuild, rows_of
from muniment.server.parts import Parts

from .conftest import BUCKET, Registry
from .rebuilding_bench import TRACKS, databases, digest, governed, lived, log_of, rebuilt


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


async def test_every_verb_on_names_is_in_the_log_well_enough_to_be_made_again(registry: Registry, fresh: str) -> None:
    await governed(registry)
    async with databases(registry, fresh) as (live, target):
        report = (await rebuilt(registry, live, target)).report.as_json()
    assert report["problems"] == []
    assert report["differences"] == []
    assert report["unknown_actions"] == {}
    compared = report["rows_compared"]
    assert (compared["pointer_move"], compared["release"], compared["tombstone"]) == (9, 2, 1)


async def test_a_manifests_lock_that_was_made_longer_meanwhile_is_no_difference(registry: Registry, fresh: str) -> None:
    made = await registry.commit()
    place = Location(**made["manifest_location"])
    async with databases(registry, fresh) as (live, target):
        done = await rebuilt(registry, live, target)
        later = datetime.now(UTC) + timedelta(days=4000)
        await registry.pool.execute("UPDATE version SET manifest_locked_until = $1", later)
        for held, expected in ((False, ["manifest_locked_until"]), (True, [])):
            if held:
                await registry.blobs.lock(place, Lock("COMPLIANCE", later))
            again = Rebuild(done.log, done.manifests, candidates=done.candidates)
            await again.compare(live, target)
            assert [one["column"] for one in again.report.as_json()["differences"]] == expected


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
