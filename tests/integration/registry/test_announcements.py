"""What `version-available` tells of the baseline: what both have, bounded, and which way is better."""

from __future__ import annotations

from typing import Any

from muniment.contracts import topics
from muniment.contracts.events import MAX_BASELINE_METRICS

from .conftest import Registry


async def last(registry: Registry) -> dict[str, Any]:
    return (await registry.sent(topics.VERSION_AVAILABLE))[-1]


async def test_a_version_is_announced_with_the_baselines_values_of_its_metrics(registry: Registry) -> None:
    first = await registry.commit(accuracy=0.9, loss=0.2, gone=1.0)
    await registry.commit(accuracy=0.91)
    assert "baseline" not in await last(registry), "there is none yet"
    await registry.post("/models/digits/promote", as_="pam", ref="digits/1", reason="first")
    tolerances = [
        {"metric": "loss", "direction": "lower", "absolute": 0.1},
        {"metric": "accuracy", "slice": "sevens", "absolute": 0.1},  # a slice's own says nothing of all data
    ]
    await registry.call("PUT", "/models/digits/contract", as_="pam", json={"tolerances": tolerances})
    await registry.commit(branch="exp/a", accuracy=0.95, loss=0.3, new=1.0)
    event = await last(registry)
    assert event["baseline"] == {"number": 1, "id": first["id"]}
    assert (event["baseline_metrics"], event["directions"]) == ({"accuracy": 0.9, "loss": 0.2}, {"loss": "lower"})
    await registry.commit("letters", accuracy=0.5)
    assert "baseline" not in await last(registry), "another model's says nothing here"


async def test_many_metrics_are_bounded_and_those_of_the_contract_come_first(registry: Registry) -> None:
    many = {f"m{number:03}": float(number) for number in range(MAX_BASELINE_METRICS + 10)}
    await registry.commit(facts={"run_id": "one", "metrics": many})
    await registry.post("/models/digits/promote", as_="pam", ref="digits/1", reason="first")
    last_one = max(many)
    body = {"tolerances": [{"metric": last_one, "absolute": 0.1}]}
    await registry.call("PUT", "/models/digits/contract", as_="pam", json=body)
    await registry.commit(facts={"run_id": "two", "metrics": many})
    event = await last(registry)
    assert len(event["metrics"]) == len(many)
    assert len(event["baseline_metrics"]) == MAX_BASELINE_METRICS
    assert event["directions"] == {last_one: "higher"}
