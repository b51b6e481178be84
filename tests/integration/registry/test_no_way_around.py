"""Every verb of the service, aimed at a protected pointer and branch by someone who may do everything: none moves them.

A new route must be added here: the test fails until it is.
"""

from __future__ import annotations

from typing import Any

from fastapi.routing import APIRoute, iter_route_contexts

from .conftest import Registry

REF = {"ref": "digits/2"}
AIMED: dict[str, tuple[dict[str, str], Any]] = {
    # operation: (what stands in its path, its body)
    "commit_candidate": ({"publication": "00000000-0000-0000-0000-000000000000"}, {"branch": "main"}),
    "refuse_candidate": ({"publication": "00000000-0000-0000-0000-000000000000"}, {"reason": "x"}),
    "create_branch": ({}, {"name": "main", **REF}),
    "change_branch": ({"name": "main"}, {"closed": True}),
    "set_pointer": ({"name": "baseline"}, REF),
    "delete_pointer": ({"name": "baseline"}, None),
    "put_contract": ({}, {"approvals": 100}),
    "freeze": ({}, {"reason": "x"}),
    "unfreeze": ({}, {"reason": "x"}),
    "approve": ({}, REF),
    "report_check": ({}, {**REF, "name": "x", "passed": True}),
    "promote": ({}, {**REF, "reason": "x"}),
    "rollback": ({}, {"to": "digits/2", "reason": "x"}),
    "revert": ({}, {"event_id": "x", "reason": "x"}),
    "evaluate": ({}, {**REF, "measurements": [{"metric": "a", "value": 1.0}]}),
    "observe": ({}, {**REF, "measurements": [{"metric": "a", "value": 1.0}]}),
    "publish_release": ({}, {**REF, "version": "1.0.0"}),
    "put_track": ({"name": "production"}, {"retention_s": 60}),
    "receive_run_event": ({}, {}),
    "report_deployment": ({}, {**REF, "environment": "x", "deployer": "x", "state": "stopped"}),
    "delete_version": ({}, {"ref": "digits/1", "reason": "x"}),
    "collect_garbage": ({}, {"dry_run": False}),
    "collect_leftovers": ({}, {"dry_run": False}),
    "bisect_step": ({}, {"good": ["digits/1"], "bad": "digits/2", "skipped": []}),
    "run_scrub": ({}, {}),
    "begin_repair": ({}, {**REF, "path": "model.bin"}),
    "complete_repair": ({}, {**REF, "path": "model.bin", "version_id": "x"}),
    "check_signature": ({}, REF),
    "describe": ({}, {**REF, "description": "x"}),
}


async def test_no_verb_reaches_the_baseline_or_a_protected_branch(registry: Registry) -> None:
    await registry.commit()
    await registry.post("/models/digits/promote", as_="pam", ref="digits/1", reason="first")
    await registry.commit(branch="exp/a")
    await registry.call("PUT", "/models/digits/contract", json={"approvals": 100})
    await registry.call("PATCH", "/models/digits/branches/main", json={"protected": True})
    verbs = [
        (route.original_route, method)
        for route in iter_route_contexts(registry.app.routes)
        if isinstance(route.original_route, APIRoute)
        for method in sorted(route.methods or ())
        if method not in {"GET", "HEAD"}
    ]
    assert len(verbs) >= len(AIMED)
    for route, method in verbs:
        assert route.name in AIMED, f"{method} {route.path} is not aimed at the baseline here"
        places, body = AIMED[route.name]
        path = route.path
        for name, value in {"model": "digits", **places}.items():
            path = path.replace(f"{{{name}:path}}", value).replace(f"{{{name}}}", value)
        answer = await registry.client.request(method, path, json=body, headers={"authorization": "Bearer root"})
        assert answer.status_code < 500, f"{method} {path}: {answer.text}"
        for ref in ("digits", "digits@main"):
            assert (await registry.get("/resolve", ref=ref))["number"] == 1, f"{method} {path} moved {ref}"
