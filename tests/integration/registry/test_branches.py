"""Branches and pointers: made, moved, closed, protected; and nothing lost when many publish at once."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from muniment.contracts import topics
from muniment.ports.blobs import Location

from .conftest import BUCKET, Registry


async def test_a_branch_starts_where_it_is_told_and_its_first_version_has_that_one_before_it(
    registry: Registry,
) -> None:
    first = await registry.commit()
    await registry.commit()
    made = await registry.post(
        "/models/digits/branches", as_="ada", status=201, name="exp/a", ref="digits/1", reason="try"
    )
    assert (made["head_number"], made["head_id"], made["closed_at"]) == (1, first["id"], None)
    version = await registry.commit(branch="exp/a")
    assert version["previous_number"] == 1
    shown = await registry.get("/models/digits/branches/exp/a")
    assert [(move["from_number"], move["to_number"]) for move in shown["moves"]] == [(1, 3), (None, 1)]
    [entry] = [one for one in await registry.audits("branch.created") if one["resource"].endswith("exp/a")]
    assert entry["changes"] == [{"path": "head", "after": first["id"]}]
    assert (entry["operator"], entry["reason"]) == ("muniment|ada", "try")


async def test_a_closed_branch_keeps_its_versions_and_takes_no_more(registry: Registry) -> None:
    await registry.commit()
    version = await registry.commit(branch="exp/a")
    for _ in range(2):  # the second time changes nothing
        await registry.call("PATCH", "/models/digits/branches/exp/a", as_="ada", json={"closed": True})
    assert len(await registry.audits("branch.closed")) == 1
    assert (await registry.get("/resolve", ref="digits@exp/a"))["id"] == version["id"]
    rejected = await _rejected(registry, "exp/a")
    assert rejected["code"] == "branch_closed"
    await registry.call("PATCH", "/models/digits/branches/exp/a", as_="ada", json={"closed": False})
    assert (await registry.commit(branch="exp/a"))["previous_number"] == version["number"]


async def test_a_protected_branch_is_reached_by_no_publication(registry: Registry) -> None:
    await registry.commit()
    path = "/models/digits/branches/main"
    await registry.refused("PATCH", path, "role_missing", as_="ada", json={"protected": True})
    await registry.call("PATCH", path, as_="pam", json={"protected": True, "reason": "production"})
    assert (await _rejected(registry, "main"))["code"] == "branch_protected"
    await registry.refused("PATCH", path, "main_stays_open", as_="pam", json={"closed": True})
    experiment = await registry.commit(branch="exp/a")
    assert experiment["number"] == 2, "a refused publication took a number"


@pytest.mark.parametrize("state", ["protected", "closed"])
async def test_the_same_manifest_again_is_the_same_version_whatever_became_of_its_branch(
    registry: Registry, state: str
) -> None:
    branch = "main" if state == "protected" else "exp/b"
    path = f"/models/digits/branches/{branch}"
    same: dict[str, Any] = {"files": {"model.bin": b"weights"}, "facts": {"run_id": "run-1"}}
    await registry.take(await registry.validated("digits", branch, publication=str(uuid.uuid4()), **same))
    await registry.commit(branch=branch)  # its head is another one by now
    elsewhere = {"files": {"model.bin": b"other"}, "facts": {"run_id": "run-2"}}
    await registry.take(await registry.validated("digits", "exp/a", publication=str(uuid.uuid4()), **elsewhere))
    await registry.call("PATCH", path, as_="pam", json={state: True, "reason": "enough"})
    before = await registry.get(path)

    again = str(uuid.uuid4())
    await registry.take(await registry.validated("digits", branch, publication=again, **same))
    matched = [one for one in await registry.sent(topics.REGISTRY_CHANGED) if one["kind"] == "publication-matched"]
    assert [(one["publication_id"], one["number"], one.get("changes", [])) for one in matched] == [(again, 1, [])]
    assert len(await registry.audits("version.matched")) == 1

    other = str(uuid.uuid4())
    await registry.take(await registry.validated("digits", branch, publication=other, **elsewhere))
    [event] = [e for e in await registry.sent(topics.MODEL_REJECTED) if e["publication_id"] == other]
    assert event["code"] == f"branch_{state}", "a version of another branch would move the head"
    assert await registry.get(path) == before, "nothing moved"
    assert (await registry.get("/models/digits/versions"))["items"][0]["number"] == 3


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": "main"}, "name_taken"),
        ({"name": "champion"}, "name_taken"),
        ({"name": "baseline"}, "branch_name_invalid"),
        ({"name": "1.2.0"}, "branch_name_invalid"),
        ({"name": "exp/a", "ref": "digits/9"}, "version_not_found"),
        ({"name": "exp/a", "ref": "other/1"}, "reference_elsewhere"),
        ({"name": "exp/a", "ref": "digits@exp/none"}, "reference_not_found"),
    ],
)
async def test_a_branch_that_cannot_be(registry: Registry, body: dict[str, Any], code: str) -> None:
    await registry.commit()
    await registry.commit("other")
    await registry.call("PUT", "/models/digits/pointers/champion", as_="ada", json={"ref": "digits/1"})
    await registry.refused("POST", "/models/digits/branches", code, as_="ada", json=body)


async def test_fifty_publishers_on_one_branch_lose_nothing(registry: Registry) -> None:
    publications = [
        await registry.validated("digits", "main", publication=str(uuid.uuid4()), facts={"run_id": f"run-{number}"})
        for number in range(50)
    ]
    await asyncio.gather(*(registry.take(publication) for publication in publications))
    items = (await registry.get("/models/digits/versions", limit=100))["items"]
    assert sorted(item["number"] for item in items) == list(range(1, 51))
    assert {item["publication"] for item in items} == {str(one.publication_id) for one in publications}
    line = (await registry.get("/models/digits/log", limit=100))["items"]
    assert [item["number"] for item in line] == list(range(50, 0, -1)), "the branch's line lacks a version"


async def test_a_pointer_moves_with_its_history_and_only_from_the_state_that_was_seen(registry: Registry) -> None:
    first, second = await registry.commit(), await registry.commit()
    path = "/models/digits/pointers/champion"
    headers = {"if-none-match": "*"}
    made = await registry.call("PUT", path, as_="ada", json={"ref": "digits/1", "reason": "best"}, headers=headers)
    assert made["id"] == first["id"]
    await registry.refused("PUT", path, "pointer_moved", as_="bob", json={"ref": "digits/2"}, headers=headers)
    races = [
        registry.client.put(
            path, json={"ref": "digits/2"}, headers={"authorization": f"Bearer {who}", "if-match": '"1"'}
        )
        for who in ("ada", "bob")
    ]
    assert sorted(answer.status_code for answer in await asyncio.gather(*races)) == [200, 412]
    assert (await registry.get("/resolve", ref="digits@champion"))["id"] == second["id"]
    await registry.call("DELETE", path, as_="ada", status=204, params={"reason": "done"})
    await registry.refused("GET", "/resolve", "reference_not_found", params={"ref": "digits@champion"})
    moves = (await registry.get("/models/digits/pointer-moves", name="champion"))["items"]
    assert [(m["verb"], m["from_number"], m["to_number"], m["reason"]) for m in moves] == [
        ("delete", 2, None, "done"),
        ("set", 1, 2, None),
        ("set", None, 1, "best"),
    ]
    kinds = [event["kind"] for event in await registry.sent(topics.REGISTRY_CHANGED)]
    assert kinds == ["pointer-moved", "pointer-moved", "pointer-deleted"]


async def test_a_publication_cannot_take_a_pointer_s_name(registry: Registry) -> None:
    await registry.commit()
    await registry.call("PUT", "/models/digits/pointers/champion", as_="ada", json={"ref": "digits/1"})
    assert (await _rejected(registry, "champion"))["code"] == "name_taken"


async def test_every_name_answers_as_of_a_moment(registry: Registry) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    await registry.commit()
    await registry.call("PUT", "/models/digits/pointers/champion", as_="ada", json={"ref": "digits/1"})
    then = (await registry.get("/models/digits/pointers/champion"))["moved_at"]
    await registry.commit()
    await registry.call("PUT", "/models/digits/pointers/champion", as_="ada", json={"ref": "digits/2"})
    for ref in ("digits@champion", "digits@main", "digits/1"):
        assert (await registry.get("/resolve", ref=ref, at=then))["number"] == 1, ref
    assert [one["number"] for one in (await registry.get("/models/digits/versions", at=then))["items"]] == [1]
    assert [one["number"] for one in (await registry.get("/models/digits/pointers", at=then))["items"]] == [1]
    assert [one["head_number"] for one in (await registry.get("/models/digits/branches", at=then))["items"]] == [1]
    await registry.refused("GET", "/resolve", "version_not_found", params={"ref": "digits/2", "at": then})
    early = {"ref": "digits@main", "at": before.isoformat()}
    assert "as of" in (await registry.refused("GET", "/resolve", "reference_not_found", params=early))["detail"]
    await registry.refused("GET", "/resolve", "time_without_zone", params={"ref": "digits/1", "at": "2026-01-02T03:04"})


async def _rejected(registry: Registry, branch: str) -> dict[str, Any]:
    """What becomes of a publication onto a branch that does not take it: a rejection, and nothing is locked for it."""
    publication = str(uuid.uuid4())
    before = await _locked(registry)
    await registry.take(await registry.validated("digits", branch, publication=publication))
    [event] = [e for e in await registry.sent(topics.MODEL_REJECTED) if e["publication_id"] == publication]
    assert await _locked(registry) == before
    return event


async def _locked(registry: Registry) -> int:
    """Objects in the store that have a lock."""
    listed = (await registry.blobs.list_versions(BUCKET, prefix="")).items
    locks = [await registry.blobs.retention(Location(one.bucket, one.key, one.version_id)) for one in listed]
    return len([lock for lock in locks if lock is not None])
