"""Tracks: rules that are enforced, and that never weaken what is locked."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from muniment.contracts import topics

from .conftest import Registry


async def put(registry: Registry, name: str, *, status: int = 200, **given: Any) -> dict[str, Any]:
    return dict(await registry.call("PUT", f"/tracks/{name}", json=given, status=status))


def until(version: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(version["files"][0]["lock"]["until"])


async def test_two_tracks_exist_from_the_start(registry: Registry) -> None:
    found = await registry.get("/tracks")
    assert [(one["name"], one["lock_mode"]) for one in found["items"]] == [
        ("experimental", "COMPLIANCE"),
        ("production", "COMPLIANCE"),
    ]
    assert (await registry.get("/tracks/production"))["formats"] is None
    await registry.refused("GET", "/tracks/none", "track_not_found", as_="rae")


async def test_a_track_is_made_and_changed_with_entries(registry: Registry) -> None:
    made = await put(registry, "edge", retention_s=600, formats=["onnx", "gguf"])
    assert (made["lock_mode"], made["formats"], made["created_by"]) == (
        "COMPLIANCE",
        ["gguf", "onnx"],
        "muniment|root",
    )
    changed = await put(registry, "edge", checks=["fair", "fair"], formats=None)
    assert (changed["retention_s"], changed["formats"], changed["checks"]) == (600, None, ["fair"])
    await put(registry, "edge", checks=["fair"])
    entries = await registry.audits("track.changed")
    assert [[one["path"] for one in entry["changes"]] for entry in entries] == [
        ["lock_mode", "retention_s", "formats"],
        ["formats", "checks"],
    ], "what changes nothing has no entry"


MISTAKES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("Edge", {"retention_s": 60}, "track_name_invalid"),
    ("edge", {}, "retention_missing"),
    ("edge", {"retention_s": 0}, "schema_invalid"),
    ("edge", {"retention_s": 60, "lock_mode": "NONE"}, "schema_invalid"),
    ("edge", {"retention_s": 60, "formats": []}, "schema_invalid"),
    ("edge", {"retention_s": 60, "colour": "red"}, "schema_invalid"),
    ("edge", {"retention_s": 60, "bucket": "No_Bucket"}, "bucket_name_invalid"),
    ("edge", {"retention_s": 60, "bucket": "unlocked"}, "track_bucket_unfit"),
    ("production", {"lock_mode": "GOVERNANCE"}, "track_weakened"),
)


async def test_what_is_no_track_is_refused(registry: Registry) -> None:
    await registry.blobs.ensure_bucket("unlocked", object_lock=False)
    for name, body, code in MISTAKES:
        await registry.refused("PUT", f"/tracks/{name}", code, json=body)
    await registry.refused("PUT", "/tracks/edge", "role_missing", as_="pam", json={"retention_s": 60})
    (refusal,) = await registry.audits("track.changed")
    assert (refusal["outcome"], refusal["resource"]) == ("refused", "tracks/production")
    assert [one["name"] for one in (await registry.get("/tracks"))["items"]] == ["experimental", "production"]


async def test_a_shorter_retention_is_for_later_versions_alone(registry: Registry) -> None:
    await put(registry, "experimental", retention_s=100_000)
    old = await registry.commit(branch="exp/a")
    await put(registry, "experimental", retention_s=1_000)
    new = await registry.commit(branch="exp/a")
    again = await registry.get("/resolve", ref=f"digits/{old['number']}")
    assert until(again) == until(old)
    assert (until(old) - until(new)).total_seconds() > 90_000
    kept = await registry.pool.fetchval("SELECT longest_retention_s FROM track WHERE name = 'experimental'")
    assert kept >= 100_000, "what is kept goes on being kept as it was promised"


async def test_a_track_takes_its_formats_alone(registry: Registry) -> None:
    await put(registry, "production", formats=["safetensors"])
    await registry.commit(files={"a": b"a"}, formats={"a": "safetensors"})
    pickled = await registry.validated(
        "digits", "main", publication=str(uuid.uuid4()), files={"m.pkl": b"p"}, formats={"m.pkl": "pickle"}
    )
    await registry.take(pickled)
    (rejection,) = await registry.sent(topics.MODEL_REJECTED)
    assert (rejection["code"], rejection["expected"], rejection["actual"]) == (
        "format_not_allowed",
        "one of safetensors",
        "pickle",
    )
    assert "m.pkl" in rejection["message"]
    await registry.commit(branch="exp/a", files={"m.pkl": b"p"}, formats={"m.pkl": "pickle"})
    body = {"version": "1.0.0", "ref": "digits@exp/a"}
    await registry.refused("POST", "/models/digits/releases", "format_not_allowed", as_="pam", json=body)


async def test_a_track_asks_for_its_checks_the_newest_outcome_counts(registry: Registry) -> None:
    await put(registry, "production", checks=["fair", "fast"])
    await registry.commit()
    body = {"version": "1.0.0", "ref": "digits/1"}

    async def report(name: str, *, passed: bool) -> None:
        await registry.pool.execute(
            "INSERT INTO version_check (model_id, number, name, passed, operator, reported_at)"
            " SELECT id, 1, $1, $2, 'muniment|ci', now() FROM model",
            name,
            passed,
        )

    await report("fair", passed=True)
    await report("fast", passed=True)
    await report("fast", passed=False)
    problem = await registry.refused("POST", "/models/digits/releases", "checks_missing", as_="pam", json=body)
    assert problem["actual"] == "check fast: failed"
    await report("fast", passed=True)
    await registry.post("/models/digits/releases", as_="pam", **body)
