"""A re-run that is published as such is compared with the original, and both say so."""

from __future__ import annotations

import uuid
from typing import Any

from muniment.contracts import topics

from .conftest import Registry

ORIGINAL = {"params": {"lr": 0.1}, "metrics": {"accuracy": 0.97}}


async def rerun(registry: Registry, of_id: str, *, files: dict[str, bytes] | None = None, **facts: Any) -> Any:
    """A validated publication that repeats a version."""
    publication = str(uuid.uuid4())
    made = await registry.validated(
        "digits", "main", publication=publication, files=files, facts={"run_id": publication, **facts}
    )
    return made.model_copy(update={"reproduces": of_id})


async def test_each_outcome_is_recorded_on_both_versions(registry: Registry) -> None:
    first = await registry.commit(files={"model.bin": b"weights"}, facts=ORIGINAL)
    same = await rerun(registry, first["id"], files={"model.bin": b"weights"}, **ORIGINAL)
    near = await rerun(registry, first["id"], metrics={"accuracy": 0.9700001})
    far = await rerun(registry, first["id"], params={"lr": 0.2}, metrics={"accuracy": 0.95})
    await registry.take(same, near, far)
    answers = [(await registry.get("/resolve", ref=f"digits/{number}"))["reproduces"] for number in (2, 3, 4)]
    assert [one["outcome"] for one in answers] == ["identical", "within-tolerance", "differs"]
    assert {(one["model"], one["number"]) for one in answers} == {("digits", 1)}
    assert "1e-06 by default" in answers[2]["judged_by"]
    changed = {one["path"]: one for one in answers[2]["differences"]["items"]}
    assert changed["metrics/accuracy"] == {
        "path": "metrics/accuracy", "original": 0.97, "reproduction": 0.95, "allowed": 9.7e-7, "within": False,
    }  # fmt: skip
    assert changed["params/lr"]["reproduction"] == 0.2
    original = await registry.get("/resolve", ref="digits/1")
    assert original["reproduces"] is None
    assert {one["number"]: one["outcome"] for one in original["reproduced_by"]} == {
        2: "identical", 3: "within-tolerance", 4: "differs",
    }  # fmt: skip
    entries = await registry.audits("version.reproduced")
    assert [one["changes"][1]["after"] for one in entries] == ["identical", "within-tolerance", "differs"]
    events = [one for one in await registry.sent(topics.REGISTRY_CHANGED) if one["kind"] == "version-reproduced"]
    assert [one["number"] for one in events] == [2, 3, 4]


async def test_the_models_contract_decides_where_there_is_one(registry: Registry) -> None:
    first = await registry.commit(facts=ORIGINAL)
    await registry.pool.execute(
        "INSERT INTO contract (model_id, revision, tolerances, changed_at, changed_by) SELECT id, 7, $1, now(), 'x' FROM model",
        '[{"metric": "accuracy", "absolute": 0.05}]',
    )
    await registry.take(await rerun(registry, first["id"], metrics={"accuracy": 0.95}))
    answer = (await registry.get("/resolve", ref="digits/2"))["reproduces"]
    assert answer["outcome"] == "within-tolerance"
    assert "revision 7" in answer["judged_by"]


async def test_what_reproduces_nothing_known_is_rejected(registry: Registry) -> None:
    await registry.commit()
    await registry.take(await rerun(registry, f"sha256:{'0' * 64}"))
    assert (await registry.sent(topics.MODEL_REJECTED))[-1]["code"] == "reproduces_unknown"


async def test_the_same_manifest_again_repeats_nothing(registry: Registry) -> None:
    first = await registry.commit(files={"a": b"1"}, facts={"run_id": "r"})
    again = await registry.validated(
        "digits", "main", publication=str(uuid.uuid4()), files={"a": b"1"}, facts={"run_id": "r", "metrics": {}}
    )
    await registry.take(again.model_copy(update={"reproduces": first["id"]}))
    assert (await registry.get("/resolve", ref="digits/1"))["reproduced_by"] == []
    assert await registry.audits("version.reproduced") == []
