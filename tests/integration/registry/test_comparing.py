"""Comparing versions over HTTP: manifests, tensors from the store, and what is refused."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest

from muniment.contracts.errors import Transient
from muniment.registry.comparing.comparisons import Comparisons
from tests.unit.registry.safetensors_files import framed, safetensors

from .conftest import Registry

WEIGHTS = {"model.safetensors": "safetensors"}


async def commit(registry: Registry, *values: float, facts: dict[str, Any] | None = None, **metrics: float) -> None:
    file = safetensors({"w": ("F32", [len(values)], struct.pack(f"<{len(values)}f", *values)), "b": ("U8", [1], b"1")})
    await registry.commit(files={"model.safetensors": file}, formats=WEIGHTS, facts=facts, **metrics)


async def test_versions_side_by_side_with_the_directions_of_the_contract(registry: Registry) -> None:
    for accuracy, rate in ((0.5, 0.1), (0.75, 0.1), (0.25, 0.2)):
        await registry.commit(
            accuracy=accuracy, facts={"metrics": {"accuracy": accuracy}, "params": {"lr": rate, "n": 1}}
        )
    tolerance = {"metric": "accuracy", "absolute": 0.1}
    sliced = {"metric": "accuracy", "absolute": 0.1, "slice": "x", "direction": "lower"}
    await registry.call("PUT", "/models/digits/contract", json={"tolerances": [tolerance, sliced]})
    answer = await registry.get("/compare", ref=["digits/1", "digits/2", "digits@main"])
    assert [version["number"] for version in answer["versions"]] == [1, 2, 3]
    (row,) = answer["sections"]["metrics"]
    assert (row["values"], row["deltas"]) == ([0.5, 0.75, 0.25], [0.0, 0.25, -0.25])
    assert row["changes"] == [None, "better", "worse"]
    assert [row["name"] for row in answer["sections"]["params"]] == ["lr"]
    whole = await registry.get("/compare", ref=["digits/1", "digits/2"], only_changed=False)
    assert [row["name"] for row in whole["sections"]["params"]] == ["lr", "n"]


async def test_a_diff_goes_down_to_the_tensors(registry: Registry) -> None:
    await commit(registry, 3.0, 4.0)
    await commit(registry, 3.0, 9.0)
    answer = await registry.get("/diff", **{"from": "digits/1", "to": "digits/2"})
    (row,) = answer["tensors"]["rows"]
    assert (row["name"], row["status"], row["from"]["shape"]) == ("w", "changed", [2])
    assert (row["change_norm"], row["relative_change"], row["max_change"]) == (5.0, 1.0, 5.0)
    assert answer["tensors"]["counts"] == {"changed": 1, "unchanged": 1}
    assert [file["name"] for file in answer["sections"]["files"]] == ["model.safetensors"]
    same = await registry.get("/diff", **{"from": "digits/1", "to": "digits/1", "only_changed": "false"})
    assert [(row["name"], row["status"]) for row in same["tensors"]["rows"]] == [("b", "unchanged"), ("w", "unchanged")]
    assert (await registry.get("/diff", **{"from": "digits/1", "to": "digits/2", "tensors": "false"}))[
        "tensors"
    ] is None


async def test_not_a_number_is_told_and_no_broken_json(registry: Registry) -> None:
    await commit(registry, 3.0, 4.0)
    await commit(registry, 3.0, float("nan"))
    (row,) = (await registry.get("/diff", **{"from": "digits/1", "to": "digits/2"}))["tensors"]["rows"]
    assert (row["status"], row["change_norm"], row["flags"]) == ("changed", None, ["to_not_finite"])


async def test_a_deleted_version_is_compared_by_its_manifest(registry: Registry) -> None:
    await commit(registry, 1.0, accuracy=0.5)
    await commit(registry, 2.0, accuracy=0.75)
    await registry.pool.execute(
        "INSERT INTO tombstone (model_id, number, deleted_at, operator, reason) VALUES (1, 1, now(), 'pam', 'x')"
    )
    answer = await registry.get("/diff", **{"from": "digits/1", "to": "digits/2"})
    assert [version["deleted"] for version in answer["versions"]] == [True, False]
    assert answer["tensors"] == {"skipped": "version_deleted"}
    assert answer["sections"]["metrics"][0]["deltas"] == [0.0, 0.25]


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/compare", {}, "compare_count_invalid"),
        ("/compare", {"ref": ["digits/1"]}, "compare_count_invalid"),
        ("/compare", {"ref": ["digits/1"] * 7}, "compare_count_invalid"),
        ("/compare", {"ref": ["digits/1", "digits/9"]}, "version_not_found"),
        ("/compare", {"ref": ["digits/1", "letters"]}, "model_not_found"),
        ("/compare", {"ref": ["digits/1", "digits@"]}, "reference_invalid"),
        ("/diff", {"from": "digits/1"}, "schema_invalid"),
        ("/diff", {"from": "digits/1", "to": "x" * 301}, "schema_invalid"),
        ("/diff", {"from": "digits/1", "to": "digits/2"}, "safetensors_invalid"),
    ],
)
async def test_what_cannot_be_compared_is_refused(registry: Registry, path: str, query: Any, code: str) -> None:
    await commit(registry, 1.0)
    lies = framed(b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
    await registry.commit(files={"model.safetensors": lies}, formats=WEIGHTS)
    await registry.refused("GET", path, code, as_="rae", params=query)


async def test_a_file_that_the_store_has_lost_is_named(registry: Registry) -> None:
    await commit(registry, 1.0)
    await commit(registry, 2.0)
    await registry.pool.execute("UPDATE stored_object SET version_id = 'gone'")
    problem = await registry.refused("GET", "/diff", "bytes_missing", params={"from": "digits/1", "to": "digits/2"})
    assert "--no-tensors" in problem["hint"]


async def test_a_comparison_of_tensors_without_a_place_is_asked_to_come_again(registry: Registry) -> None:
    await commit(registry, 1.0)
    await commit(registry, 2.0)
    places = asyncio.Semaphore(1)
    comparisons = Comparisons(registry.pool, registry.blobs, 1 << 20, places)
    async with places:
        with pytest.raises(Transient) as refused:
            await comparisons.diff("digits/1", "digits/2")
    assert (refused.value.code, refused.value.retry_after) == ("compare_busy", 5)
    assert (await comparisons.diff("digits/1", "digits/2"))["tensors"]["counts"]["changed"] == 1
