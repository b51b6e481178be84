"""A small history with a branch and a merge, in which a dataset's digest changed silently."""

from __future__ import annotations

import json
from typing import Any

import pytest

from muniment.ports.blobs import StoreUnavailable

from .conftest import BUCKET, Registry


def facts(digest: str, lr: float, **more: Any) -> dict[str, Any]:
    return {"hyperparams": {"lr": lr}, "datasets": [{"name": "train", "digest": digest}], **more}


async def history(registry: Registry) -> list[dict[str, Any]]:
    """1 - 2 ------- 5 (merge) - 6, and 3 - 4 on exp/a, where 4 is the mislabelled one."""
    # Names that look like the marks between which a metric is read.
    odd = {'"metrics":{': 1, "model": 2, '},"model":"': 3}
    one = await registry.commit(facts=facts("d1", 0.1, params=odd, metrics={**odd, "accuracy": 0.90}))
    two = await registry.commit(facts=facts("d1", 0.2), accuracy=0.91)
    three = await registry.commit(
        branch="exp/a", facts=facts("d1", 0.1, parents=[{"id": one["id"], "kind": "derived"}]), accuracy=0.92
    )
    four = await registry.commit(branch="exp/a", facts=facts("d2", 0.3), accuracy=0.70, operator="muniment|bob")
    five = await registry.commit(facts=facts("d2", 0.2, parents=[{"id": four["id"], "kind": "merge"}]), accuracy=0.71)
    six = await registry.commit(facts=facts("d2", 0.5), accuracy=0.72)
    return [one, two, three, four, five, six]


async def test_the_graph_has_every_edge_in_pages(registry: Registry) -> None:
    await history(registry)
    edges: list[tuple[int, str, int]] = []
    token = None
    while True:
        page = await registry.get("/models/digits/graph", ref="digits@main", limit=2, page_token=token)
        edges += [(row["number"], edge["kind"], edge["number"]) for row in page["items"] for edge in row["edges"]]
        if not (token := page["next_page_token"]):
            break
    assert edges == [
        (6, "previous", 5),
        (5, "previous", 2),
        (5, "merge", 4),
        (4, "previous", 3),
        (3, "derived", 1),
        (2, "previous", 1),
    ]
    whole = await registry.get("/models/digits/graph")
    assert [row["number"] for row in whole["items"]] == [6, 5, 4, 3, 2, 1]
    branch = await registry.get("/models/digits/graph", ref="digits@exp/a")
    assert [row["number"] for row in branch["items"]] == [4, 3, 1]
    await registry.refused("GET", "/models/digits/graph", "reference_of_other_model", params={"ref": "letters@main"})


async def test_blame_names_who_set_a_field_on_the_line_and_in_the_graph(registry: Registry) -> None:
    await history(registry)

    async def blamed(**query: Any) -> dict[str, tuple[int, str]]:
        found = await registry.get("/blame", ref="digits@main", **query)
        return {one["field"]: (one["number"], one["operator"]) for one in found["fields"]}

    line = await blamed(fields="*a*.*")
    assert line["datasets.train.digest"] == (5, "muniment|ada"), "on main it came with the merge"
    assert line["hyperparams.lr"] == (6, "muniment|ada")
    graph = await blamed(fields="datasets.*", whole_graph=True)
    assert graph == {"datasets.train.digest": (4, "muniment|bob")}


async def test_the_first_bad_version_and_what_changed_there(registry: Registry) -> None:
    await history(registry)
    found = await registry.get("/bisect", good="digits/1", bad="digits@main", metric="accuracy", drop=0.02)
    assert [one["number"] for one in found["first_bad"]] == [4]
    why = found["why"]
    assert why["base"]["number"] == 3
    first = why["factors"][0]
    assert (first["field"], first["before"], first["after"]) == ("datasets.train.digest", "d1", "d2")
    assert first["same_change_elsewhere"] == 1, "the merge brought the same change to main"
    assert first["elsewhere"][0]["regressed"] is True
    assert (first["brought_by_merges"], first["elsewhere"][0]["brought"]) == (1, True), "it is no trial of its own"
    rate = next(one for one in why["factors"] if one["field"] == "hyperparams.lr")
    assert rate["score"] < first["score"], "the rate changed elsewhere without harm"
    assert any("consistent with accuracy going from 0.92 to 0.7 here" in line for line in why["text"])
    for good, bad, metric, code in (
        ("digits/1", "digits/2", "accuracy", "bisect_bad_is_good"),
        ("digits/4", "digits/1", "accuracy", "bisect_bad_is_good"),
        ("digits/1", "digits/4", "f1", "bisect_metric_missing"),
    ):
        query: dict[str, Any] = {"good": good, "bad": bad, "metric": metric, "drop": 0.02}
        await registry.refused("GET", "/bisect", code, params=query)
    assert not await registry.audits("bisect"), "a question changes nothing"


async def test_a_bisect_by_hand_is_told_what_is_next_until_the_end(registry: Registry) -> None:
    await history(registry)
    good, bad, tested = ["digits/1"], "digits@main", []
    while True:
        step = await registry.post("/models/digits/bisect", good=good, bad=bad, metric="accuracy", as_="rae")
        if "next" not in step:
            break
        number = step["next"]["number"]
        tested.append(number)
        if number in {4, 5, 6}:
            bad = f"digits/{number}"
        else:
            good.append(f"digits/{number}")
    assert [one["number"] for one in step["first_bad"]] == [4]
    assert len(tested) <= 3
    assert step["why"]["factors"][0]["field"] == "datasets.train.digest"
    told = await registry.post(
        "/models/digits/bisect", good=["digits/2", "digits/3"], bad="digits/4", known_bad=[bad, "digits/6"]
    )
    assert told["why"]["factors"][0]["regressed_elsewhere"] == 1, "2 is good and 5 comes from the first bad one"
    rate = next(one for one in told["why"]["factors"] if one["field"] == "hyperparams.lr")
    assert (rate["regressed_elsewhere"], rate["unharmed_elsewhere"]) == (0, 1), "1 leads to 2, which is good"
    assert rate["score"] < told["why"]["factors"][0]["score"]
    text = " ".join(told["why"]["text"])
    assert "1 of them regressed, 0 did not" in text
    assert "consistent with version 4 being bad where version 3 is good" in text
    assert "by what was said of them" in text
    skipped = await registry.post("/models/digits/bisect", good=["digits/1"], bad="digits/4", skipped=["digits/3"])
    assert [one["number"] for one in skipped["first_bad"]] == [3, 4]
    await registry.refused(
        "POST", "/models/digits/bisect", "bisect_bad_before_good", json={"good": ["digits/4"], "bad": "digits/3"}
    )


def safetensors(tensors: dict[str, bytes]) -> bytes:
    header = {}
    at = 0
    for name, data in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(tensors.values())


async def test_tensors_are_blamed_and_their_bytes_read_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for body, head in ((b"body", b"h1"), (b"body", b"h2"), (b"body", b"h2"), (b"body", b"h3")):
        data = safetensors({"body": body, "head": head})
        await registry.commit(files={"m.safetensors": data}, formats={"m.safetensors": "safetensors"})
    for _ in range(2):
        found = await registry.get("/blame", ref="digits@main", tensors=True, fields="tensors.*")
        assert {one["field"]: one["number"] for one in found["fields"]} == {"tensors.body": 1, "tensors.head": 4}
        monkeypatch.setattr(type(registry.blobs), "open", lambda *_, **__: pytest.fail(f"{BUCKET} is read again"))


async def test_the_layers_that_changed_are_factors_held_against_other_edges(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ({}, {"layer.0.w": b"1"}, {"head.w": b"1"}, {"layer.3.w": b"1", "head.w": b"2"}, {"layer.3.w": b"2"})
    tensors = {f"layer.{n}.{name}": b"0" for n in range(4) for name in ("w", "b")} | {"head.w": b"0"}
    for changed, accuracy in zip(changes, (0.9, 0.91, 0.9, 0.7, 0.4), strict=True):
        tensors |= changed
        files = {"m.safetensors": safetensors(tensors)}
        await registry.commit(files=files, formats={"m.safetensors": "safetensors"}, accuracy=accuracy)
    asked = {"good": "digits/1", "bad": "digits/4", "metric": "accuracy", "drop": 0.1}
    why = (await registry.get("/bisect", **asked))["why"]
    assert why["tensors"] == {
        "compared": True, "level": "layer", "changed": 2, "groups": 5, "versions": 5, "versions_not_read": 0,
    }  # fmt: skip
    groups = [one for one in why["factors"] if one["kind"] == "tensor group"]
    assert [one["field"] for one in groups] == ["tensors.layer.3", "tensors.head"], "by what happened elsewhere"
    assert (groups[0]["regressed_elsewhere"], groups[0]["unharmed_elsewhere"]) == (1, 0)
    assert [(one["number"], round(one["delta"], 2), one["regressed"]) for one in groups[1]["elsewhere"]] == [
        (3, -0.01, False)
    ]
    assert any(
        "tensors.head.* changed; it changed on 1 other edge, 0 of them regressed" in line for line in why["text"]
    )
    assert not any("layer.0" in one["field"] for one in why["factors"]), "it did not change here"

    monkeypatch.setattr(type(registry.blobs), "open", lambda *_, **__: pytest.fail(f"{BUCKET} is read again"))
    assert (await registry.get("/bisect", **asked))["why"] == why, "from what was kept"


async def test_a_why_goes_without_tensors_that_cannot_be_read(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for accuracy, data in ((0.9, b"0"), (0.9, b"1"), (0.5, b"2")):
        files = {"m.safetensors": safetensors({"w": data})}
        await registry.commit(files=files, formats={"m.safetensors": "safetensors"}, accuracy=accuracy)
    asked = {"good": "digits/2", "bad": "digits/3", "metric": "accuracy", "drop": 0.1}

    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("store_unavailable", "the store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(type(registry.blobs), "open", away)
        why = (await registry.get("/bisect", **asked))["why"]
    assert why["tensors"]["compared"] is False
    assert any("tensors were not compared" in line for line in why["text"])
    monkeypatch.setattr("muniment.registry.history.why.MAX_TENSOR_BYTES", 2 * len(files["m.safetensors"]))
    why = (await registry.get("/bisect", **asked))["why"]
    assert (why["tensors"]["compared"], why["tensors"]["versions_not_read"]) == (True, 1)
    assert any("the tensors of 1 other versions were not read" in line for line in why["text"])
