"""Lineage, deployments, OpenLineage: what depends on what, across models."""

from __future__ import annotations

import uuid
from typing import Any

from .conftest import Registry

DATA = {"name": "mnist", "digest": "sha256:aa", "uri": "s3://bucket/mnist"}
OTHER = {"name": "mnist", "digest": "sha256:bb"}
CODE = {"repository": "https://example.org/digits.git", "commit": "c0ffee"}


def _keys(answer: dict[str, Any], kind: str | None = None) -> set[str]:
    return {node["key"] for node in answer["nodes"] if kind in (None, node["kind"])}


async def _report(registry: Registry, ref: str, state: str, at: str = "2026-01-02T03:04:05Z", **more: Any) -> Any:
    body = {"ref": ref, "environment": "production", "deployer": "k8s", "state": state, "at": at, **more}
    return await registry.post("/models/digits/deployments", as_="ada", status=201, **body)


async def test_what_depends_on_a_dataset_is_told_across_models_and_down_to_deployments(registry: Registry) -> None:
    teacher = await registry.commit("digits", facts={"datasets": [DATA], "code": CODE})
    await registry.commit("digits", facts={"datasets": [OTHER]})
    await registry.commit("small", facts={"parents": [{"id": teacher["id"], "kind": "distil"}], "experiment_id": "e"})
    await _report(registry, "digits/1", "running")
    down = await registry.get("/lineage", dataset="mnist@sha256:aa", direction="down")
    assert _keys(down) == {
        "dataset:mnist@sha256:aa",
        "version:digits/1",
        "version:small/1",
        "deployment:digits/1 in production by k8s",
    }
    assert {"source": "version:digits/1", "target": "version:small/1", "kind": "distil"} in down["edges"]
    assert _keys(await registry.get("/lineage", dataset="mnist", direction="down"), "version") == {
        "version:digits/1",
        "version:digits/2",
        "version:small/1",
    }
    up = await registry.get("/lineage", ref="small/1", direction="up")
    assert {"dataset:mnist@sha256:aa", "code:c0ffee", "version:digits/1", "experiment:e"} <= _keys(up)
    assert _keys(await registry.get("/lineage", code="c0ffee", kinds="version"), "version") == _keys(down, "version")
    near = await registry.get("/lineage", ref="small/1", direction="up", depth=1)
    assert "version:digits/1" in _keys(near)
    assert "code:c0ffee" not in _keys(near)
    assert near["cut"]


async def test_a_run_that_repeats_another_stands_below_it(registry: Registry) -> None:
    first = await registry.commit()
    again = await registry.validated("digits", "main", publication=str(uuid.uuid4()), facts={"run_id": "again"})
    await registry.take(again.model_copy(update={"reproduces": first["id"]}))
    edge = {"source": "version:digits/1", "target": "version:digits/2", "kind": "reproduces"}
    assert edge in (await registry.get("/lineage", ref="digits/1", direction="down"))["edges"]
    assert edge in (await registry.get("/lineage", ref="digits/2", direction="up"))["edges"]


async def test_bad_questions_are_told_what_is_wrong(registry: Registry) -> None:
    await registry.commit()
    for query, code in (
        ("", "lineage_question_invalid"),
        ("ref=digits/1&code=c", "lineage_question_invalid"),
        ("ref=digits/1&kinds=models", "kind_unknown"),
        ("dataset=nowhere", "dataset_not_found"),
        ("code=nowhere", "code_not_found"),
        ("ref=digits/9", "version_not_found"),
    ):
        await registry.refused("GET", f"/lineage?{query}", code)


async def test_the_newest_report_of_a_place_is_current_whatever_order_reports_arrive_in(registry: Registry) -> None:
    await registry.commit()
    await registry.commit()
    await _report(registry, "digits/2", "running", at="2026-02-01T00:00:00Z", url="https://run.example")
    await _report(registry, "digits/1", "stopped", at="2026-01-01T00:00:00Z")
    [shown] = (await registry.get("/models/digits/deployments"))["items"]
    assert (shown["number"], shown["state"], shown["url"]) == (2, "running", "https://run.example")
    assert (await registry.get("/deployments", environment="production"))["items"] == [shown]
    assert (await registry.get("/deployments", environment="staging"))["items"] == []
    body = {"ref": "digits/1", "environment": "e", "deployer": "d", "state": "running"}
    path = "/models/digits/deployments"
    await registry.refused("POST", path, "role_missing", as_="rae", json=body)
    await registry.refused("POST", path, "operator_mismatch", as_="ada", json={**body, "operator": "muniment|bob"})
    await registry.refused("POST", path, "deployment_in_future", json={**body, "at": "2999-01-01T00:00:00Z"})
    assert len(await registry.audits("deployment.reported")) == 2


async def test_a_version_is_a_run_event_and_runs_elsewhere_reach_versions_by_the_uri(registry: Registry) -> None:
    version = await registry.commit(facts={"datasets": [DATA], "code": CODE})
    event = await registry.get("/lineage/openlineage", ref="digits/1")
    assert {"eventTime", "producer", "schemaURL", "run", "job"} <= event.keys()
    assert event["eventType"] == "COMPLETE"
    assert str(uuid.UUID(event["run"]["runId"])) == version["publication"]
    facets = [facet for one in event["inputs"] + event["outputs"] for facet in one["facets"].values()]
    facets += list(event["job"]["facets"].values())
    assert all({"_producer", "_schemaURL"} <= facet.keys() for facet in facets)
    assert event["inputs"][0]["facets"]["version"]["datasetVersion"] == "sha256:aa"
    assert event["outputs"][0]["facets"]["version"]["datasetVersion"] == version["id"]

    run = str(uuid.uuid4())
    sent = {
        "eventType": "COMPLETE",
        "eventTime": "2026-01-01T00:00:00Z",
        "producer": "https://example.org/etl",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": run},
        "job": {"namespace": "etl", "name": "scan"},
        "inputs": [{"namespace": "s3://raw", "name": "scans"}],
        "outputs": [{"namespace": "s3://bucket", "name": "mnist"}],
    }
    assert (await registry.post("/lineage/openlineage", as_="ada", **sent))["added"] == 2
    assert (await registry.post("/lineage/openlineage", as_="ada", **sent))["added"] == 0
    assert len(await registry.audits("lineage.received")) == 1
    up = await registry.get("/lineage", ref="digits/1", direction="up")
    assert {f"external-run:{run}", "dataset:s3://raw/scans"} <= _keys(up)
    down = await registry.get("/lineage", dataset="s3://raw/scans", direction="down")
    assert "version:digits/1" in _keys(down)
    for left_out in ("eventTime", "producer", "schemaURL", "run", "job"):
        given = {name: value for name, value in sent.items() if name != left_out}
        answer = await registry.client.post("/lineage/openlineage", json=given, headers={"authorization": "Bearer ada"})
        assert answer.status_code == 422, left_out
        assert left_out in answer.text
