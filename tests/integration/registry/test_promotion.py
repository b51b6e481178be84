"""The way to the baseline: gates, promotion, rollback, revert; and that there is no way around."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from muniment.contracts import topics
from muniment.ports.blobs import Location

from .conftest import Registry

CONTRACT = {
    "tolerances": [
        {"metric": "accuracy", "absolute": 0.01},
        {"metric": "loss", "direction": "lower", "relative": 0.1},
    ],
    "checks": ["bias"],
    "approvals": 1,
}


async def promoted(registry: Registry, ref: str, status: int = 200, **more: Any) -> dict[str, Any]:
    return dict(
        await registry.post("/models/digits/promote", as_="pam", status=status, ref=ref, reason="better", **more)
    )


async def test_main_moves_forward_to_an_experiment_that_comes_from_it(registry: Registry) -> None:
    first = await registry.commit(accuracy=0.9)
    await promoted(registry, "digits@main")
    await registry.post("/models/digits/branches", status=201, name="exp/a")
    second = await registry.commit(branch="exp/a", accuracy=0.95)
    answer = await promoted(registry, "digits@exp/a")
    assert (answer["changed"], answer["line"], answer["baseline"]["id"]) == (True, "forward", second["id"])
    for ref in ("digits", "digits@baseline", "digits@main"):
        assert (await registry.get("/resolve", ref=ref))["id"] == second["id"], ref
    assert (await registry.get("/resolve", ref="digits"))["stability"] == "stable"
    again = await promoted(registry, "digits@exp/a")
    assert again["changed"] is False
    events = await registry.sent(topics.BASELINE_CHANGED)
    assert [(e["verb"], e["current"]["id"], (e.get("previous") or {}).get("id")) for e in events] == [
        ("promote", first["id"], None),
        ("promote", second["id"], first["id"]),
    ]
    entry = (await registry.audits("baseline.promoted"))[-1]
    assert {change["path"] for change in entry["changes"]} == {
        "pointers/baseline",
        "branches/main",
        "versions/2/stability",
    }
    assert (entry["operator"], entry["reason"]) == ("muniment|pam", "better")


async def test_lines_that_have_parted_are_merged(registry: Registry) -> None:
    await registry.commit()
    await registry.post("/models/digits/branches", status=201, name="exp/a")
    experiment = await registry.commit(branch="exp/a", files={"w.bin": b"better"}, accuracy=0.99)
    head = await registry.commit()
    dry = await promoted(registry, "digits@exp/a", dry_run=True)
    assert (dry["changed"], dry["line"]) == (False, "merge")
    assert len((await registry.get("/models/digits/versions"))["items"]) == 3, "a dry run made something"
    answer = await promoted(registry, "digits@exp/a")
    assert answer["line"] == "merge"
    merge = await registry.get("/resolve", ref="digits@main")
    assert merge["id"] == answer["baseline"]["id"]
    assert (merge["stability"], merge["branch"], merge["previous"]) == ("stable", "main", head["id"])
    assert {(parent["id"], parent["kind"]) for parent in merge["parents"]} == {
        (head["id"], "merge"),
        (experiment["id"], "merge"),
    }
    assert [file["sha256"] for file in merge["files"]] == [file["sha256"] for file in experiment["files"]]
    assert merge["manifest"]["metrics"] == {"accuracy": 0.99}
    announced = (await registry.sent(topics.VERSION_AVAILABLE))[-1]
    assert (announced["id"], announced["stability"]) == (merge["id"], "stable")


async def test_an_older_version_of_main_becomes_the_baseline_and_main_stays(registry: Registry) -> None:
    await registry.commit()
    newest = await registry.commit()
    assert (await promoted(registry, "digits/1"))["line"] == "on main"
    assert (await registry.get("/resolve", ref="digits@main"))["id"] == newest["id"]


async def test_each_gate_tells_how_the_version_came_out(registry: Registry) -> None:
    await registry.commit(accuracy=0.95, loss=1.0)
    await promoted(registry, "digits/1")
    await registry.call("PUT", "/models/digits/contract", as_="pam", json=CONTRACT)
    await registry.commit(operator="muniment|pam", accuracy=0.93, loss=1.09)
    answer = await registry.refused(
        "POST", "/models/digits/promote", "promotion_refused", as_="pam", json={"ref": "digits/2", "reason": "try"}
    )
    gates = {gate["name"]: gate["passed"] for gate in answer["details"]["gates"]}
    assert gates == {
        "version": True,
        "freeze": True,
        "tolerance accuracy": False,
        "tolerance loss": True,
        "check bias": False,
        "approvals": False,
    }
    hints = {gate["name"]: gate.get("hint") for gate in answer["details"]["gates"]}
    assert hints["check bias"] == "muniment check digits/2 bias --passed"  # to be copied as it stands
    assert hints["approvals"] == "muniment approve digits/2"
    assert (await registry.get("/resolve", ref="digits"))["number"] == 1
    [entry] = [one for one in await registry.audits("baseline.promoted") if one["outcome"] == "refused"]
    assert "tolerance accuracy" in entry["reason"]
    assert (await registry.sent(topics.REGISTRY_CHANGED))[-1]["kind"] == "promotion-refused"

    await registry.commit(operator="muniment|pam", accuracy=0.945, loss=0.5)
    await registry.post("/models/digits/checks", as_="ada", ref="digits/3", name="bias", passed=True)
    await registry.post("/models/digits/approvals", as_="pam", ref="digits/3")  # the author: does not count
    problem = await registry.refused(
        "POST", "/models/digits/promote", "promotion_refused", as_="rob", json={"ref": "digits/3", "reason": "try"}
    )
    assert [gate["name"] for gate in problem["details"]["gates"] if not gate["passed"]] == ["approvals"]
    await registry.post("/models/digits/approvals", as_="rob", ref="digits/3", comment="looked at")
    assert (await promoted(registry, "digits/3"))["changed"]


async def test_what_is_withdrawn_no_longer_counts(registry: Registry) -> None:
    await registry.commit()
    await registry.call("PUT", "/models/digits/contract", as_="pam", json={"checks": ["bias"], "approvals": 1})
    for passed in (True, False):
        await registry.post("/models/digits/checks", as_="ada", ref="digits/1", name="bias", passed=passed)
        await registry.post("/models/digits/approvals", as_="rob", ref="digits/1", approved=passed)
    problem = await registry.refused(
        "POST", "/models/digits/promote", "promotion_refused", as_="pam", json={"ref": "digits/1", "reason": "try"}
    )
    assert [gate["name"] for gate in problem["details"]["gates"] if not gate["passed"]] == ["check bias", "approvals"]


async def test_a_freeze_stops_promotion_and_rollback_until_it_is_lifted(registry: Registry) -> None:
    for _ in range(2):
        await registry.commit()
        await promoted(registry, "digits@main")
    await registry.post("/models/digits/freeze", as_="pam", reason="audit week")
    for verb, body in (("promote", {"ref": "digits/1"}), ("rollback", {"to": "digits/1"})):
        code = "promotion_refused" if verb == "promote" else "rollback_refused"
        problem = await registry.refused(
            "POST", f"/models/digits/{verb}", code, as_="pam", json={**body, "reason": "now"}
        )
        assert "audit week" in problem["actual"]
    await registry.post("/models/digits/unfreeze", as_="pam", reason="over")
    await registry.post("/models/digits/rollback", as_="pam", to="digits/1", reason="now")


async def test_rollback_goes_back_keeps_the_history_and_says_what_it_undid(registry: Registry) -> None:
    versions = [await registry.commit(accuracy=accuracy) for accuracy in (0.9, 0.95, 0.97)]
    for number in (1, 2, 3):
        await promoted(registry, f"digits/{number}")
    # Worse by the metrics than what is left: it has been through the gate, and the way back must stay open.
    await registry.call(
        "PUT", "/models/digits/contract", as_="pam", json={"tolerances": [{"metric": "accuracy", "absolute": 0.01}]}
    )
    answer = await registry.post("/models/digits/rollback", as_="pam", to="digits/1", reason="drift in production")
    assert [(move["from_number"], move["to_number"]) for move in answer["undone"]] == [(2, 3), (1, 2)]
    assert (await registry.get("/resolve", ref="digits"))["id"] == versions[0]["id"]
    assert (await registry.get("/resolve", ref="digits@main"))["id"] == versions[2]["id"]
    event = (await registry.sent(topics.BASELINE_CHANGED))[-1]
    assert (event["verb"], event["current"]["number"], event["previous"]["number"]) == ("rollback", 1, 3)
    back = await registry.post("/models/digits/rollback", as_="pam", reason="a mistake")
    assert back["baseline"]["number"] == 3, "without a target it leads to the baseline before this one"


async def test_a_damaged_target_is_found_before_anything_moves(registry: Registry) -> None:
    await registry.commit(files={"model.bin": b"first"})
    await registry.commit()
    for number in (1, 2):
        await promoted(registry, f"digits/{number}")
    file = (await registry.get("/resolve", ref="digits/1"))["files"][0]
    registry.blobs.damage(Location(**file["location"]))
    body = {"to": "digits/1", "reason": "back"}
    await registry.refused("POST", "/models/digits/rollback", "bytes_damaged", as_="pam", json=body)
    assert (await registry.get("/resolve", ref="digits"))["number"] == 2
    [entry] = await registry.audits("baseline.rolled_back")
    assert entry["outcome"] == "refused"


async def test_two_promotions_at_once_leave_one_line(registry: Registry) -> None:
    await registry.commit()
    await promoted(registry, "digits/1")
    for name in ("a", "b"):
        await registry.post("/models/digits/branches", status=201, name=f"exp/{name}")
        await registry.commit(branch=f"exp/{name}")
    answers = await asyncio.gather(promoted(registry, "digits@exp/a"), promoted(registry, "digits@exp/b"))
    assert sorted(answer["line"] for answer in answers) == ["forward", "merge"]
    moves = (await registry.get("/models/digits/pointer-moves", name="baseline"))["items"]
    assert [move["from_number"] for move in moves] == [move["to_number"] for move in moves[1:]] + [None]
    line = [item["number"] for item in (await registry.get("/models/digits/log"))["items"]]
    assert line == sorted(line, reverse=True)
    assert (await registry.get("/resolve", ref="digits@main"))["id"] == (await registry.get("/resolve", ref="digits"))[
        "id"
    ]


async def test_the_baseline_has_no_other_way_in(registry: Registry) -> None:
    await registry.commit()
    for method, more in (("PUT", {"json": {"ref": "digits/1"}}), ("DELETE", {})):
        await registry.refused(method, "/models/digits/pointers/baseline", "pointer_protected", as_="root", **more)
    refused = [one for one in await registry.audits("pointer.moved") if one["outcome"] == "refused"]
    assert len(refused) == 2
    for verb, body in (
        ("promote", {"ref": "digits/1", "reason": "x"}),
        ("rollback", {"to": "digits/1", "reason": "x"}),
        ("freeze", {"reason": "x"}),
        ("approvals", {"ref": "digits/1"}),
    ):
        await registry.refused("POST", f"/models/digits/{verb}", "role_missing", as_="ada", json=body)
    await registry.refused("PUT", "/models/digits/contract", "role_missing", as_="ada", json={})


async def test_audited_changes_can_be_reversed_as_new_changes(registry: Registry) -> None:
    for _ in range(2):
        await registry.commit(accuracy=0.9)
        await promoted(registry, "digits@main")
    await registry.call("PUT", "/models/digits/pointers/champion", as_="ada", json={"ref": "digits/1"})
    await registry.call("PUT", "/models/digits/pointers/champion", as_="ada", json={"ref": "digits/2"})
    await registry.post("/models/digits/describe", as_="ada", ref="digits/1", description="first", tags={"a": "1"})
    await registry.post("/models/digits/describe", as_="ada", ref="digits/1", description=None, tags={"a": None})
    await registry.call("PUT", "/models/digits/contract", as_="pam", json=CONTRACT)
    await registry.call("PATCH", "/models/digits/branches/main", as_="pam", json={"protected": True})

    async def revert(action: str, place: int = -1, as_: str = "pam") -> Any:
        event = (await _events(registry, action))[place]
        return await registry.post("/models/digits/revert", as_=as_, event_id=event, reason="a mistake")

    assert await revert("pointer.moved") == {"action": "pointer.moved", "target": "champion", "from": 2, "to": 1}
    await revert("version.described")
    await revert("contract.changed")
    await revert("branch.protected")
    await revert("baseline.promoted")
    shown = await registry.get("/resolve", ref="digits/1")
    assert (shown["description"], shown["tags"]) == ("first", {"a": "1"})
    assert (await registry.get("/resolve", ref="digits@champion"))["number"] == 1
    assert (await registry.get("/models/digits/contract"))["checks"] == []
    assert (await registry.get("/models/digits/branches/main"))["protected"] is False
    assert (await registry.get("/resolve", ref="digits"))["number"] == 1
    assert (await registry.sent(topics.BASELINE_CHANGED))[-1]["verb"] == "revert"
    # What has been changed again since is left alone.
    [first, *_] = await _events(registry, "version.described")
    body = {"event_id": first, "reason": "late"}
    await registry.post("/models/digits/describe", as_="ada", ref="digits/1", description="other")
    await registry.refused("POST", "/models/digits/revert", "changed_since", as_="ada", json=body)
    for event in ("00000000-0000-0000-0000-000000000000", (await _events(registry, "version.committed"))[0]):
        body = {"event_id": event, "reason": "x"}
        await registry.refused("POST", "/models/digits/revert", "not_reversible", as_="ada", json=body)


async def test_a_freeze_and_its_end_can_be_reversed(registry: Registry) -> None:
    await registry.commit()
    await registry.post("/models/digits/freeze", as_="pam", reason="audit week")

    async def revert() -> Any:
        event = (await _events(registry, "contract.changed"))[-1]
        return await registry.post("/models/digits/revert", as_="pam", event_id=event, reason="a mistake")

    async def why() -> Any:
        freeze = (await registry.get("/models/digits/contract"))["freeze"]
        return freeze and freeze["reason"]

    await revert()
    assert await why() is None
    await registry.post("/models/digits/freeze", as_="pam", reason="audit week")
    await registry.post("/models/digits/unfreeze", as_="pam", reason="over")
    await revert()
    assert await why() == "audit week"
    await registry.post("/models/digits/freeze", as_="pam", reason="again")  # it is frozen: nothing to say, no entry
    assert (await why(), len(await registry.audits("contract.changed"))) == ("audit week", 5)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"tolerances": [{"metric": "a"}]}, "tolerance_empty"),
        ({"tolerances": [{"metric": "a", "absolute": 1.0, "relative": 0.1}]}, "tolerance_ambiguous"),
        ({"tolerances": [{"metric": "a", "absolute": -1.0}]}, "schema_invalid"),
        ({"tolerances": [{"metric": "a", "absolute": 1.0, "direction": "sideways"}]}, "schema_invalid"),
        ({"tolerances": [{"metric": "a", "absolute": 1.0}, {"metric": "a", "bound": 0.1}]}, "demand_repeated"),
        ({"checks": ["a", "a"]}, "demand_repeated"),
        ({"approvals": -1}, "schema_invalid"),
        ({"approvals": 101}, "schema_invalid"),
        ({"unknown": 1}, "schema_invalid"),
    ],
)
async def test_a_contract_that_means_nothing_is_refused(registry: Registry, body: dict[str, Any], code: str) -> None:
    await registry.commit()
    await registry.refused("PUT", "/models/digits/contract", code, as_="pam", json=body)


async def test_an_outcome_is_true_or_false_and_no_word_for_it(registry: Registry) -> None:
    await registry.commit()
    for verb, body in (
        ("checks", {"ref": "digits/1", "name": "bias", "passed": "yes"}),
        ("approvals", {"ref": "digits/1", "approved": 1}),
        ("promote", {"ref": "digits/1", "reason": "x", "dry_run": "no"}),
    ):
        problem = await registry.refused("POST", f"/models/digits/{verb}", "schema_invalid", json=body)
        assert problem["expected"] == "a valid boolean", verb


async def test_a_version_that_was_deleted_is_told_with_a_way_on(registry: Registry) -> None:
    await registry.commit()
    await registry.commit()
    await registry.post("/models/digits/delete", ref="digits/1", reason="a mistake")
    problem = await registry.refused(
        "POST", "/models/digits/promote", "promotion_refused", json={"ref": "digits/1", "reason": "x"}
    )
    assert problem["hint"] == "name another version: muniment versions ls digits"
    problem = await registry.refused("PUT", "/models/digits/pointers/best", "version_deleted", json={"ref": "digits/1"})
    assert problem["hint"] == "name another version: muniment versions ls digits"


@pytest.mark.parametrize("text", ["", "  "])
async def test_a_reason_that_says_nothing_is_none(registry: Registry, text: str) -> None:
    await registry.commit()
    for verb, body in (
        ("promote", {"ref": "digits/1", "reason": text}),
        ("rollback", {"to": "digits/1", "reason": text}),
        ("freeze", {"reason": text}),
        ("delete", {"ref": "digits/1", "reason": text}),
        ("revert", {"event_id": "e-1", "reason": text}),
        ("checks", {"ref": "digits/1", "name": text, "passed": True}),
    ):
        problem = await registry.refused("POST", f"/models/digits/{verb}", "text_empty", as_="root", json=body)
        assert (problem["expected"], problem["actual"]) == ("a text, and not spaces alone", repr(text)), verb
    assert (await registry.get("/models/digits/pointers"))["items"] == [], "nothing was promoted"


async def _events(registry: Registry, action: str) -> list[str]:
    """Ids of the requests for audit entries of an action, in order."""
    rows = await registry.pool.fetch(
        "SELECT id, payload FROM outbox WHERE aggregatetype LIKE '%audit-requested%' ORDER BY seq"
    )
    return [str(row["id"]) for row in rows if f'"action":"{action}"' in bytes(row["payload"]).decode()]
