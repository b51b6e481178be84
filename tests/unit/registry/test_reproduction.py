"""Two manifests side by side: the same bytes, metrics within tolerance, or what differs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.registry.domain import NewVersion, Refused, plan
from muniment.registry.reproduction import MAX_DIFFERENCES, compare
from muniment.registry.tolerances import Tolerance

from .test_domain import commit, state

DIGESTS = {"one": "a" * 64, "two": "b" * 64}


def manifest(files: str = "one", **facts: Any) -> dict[str, Any]:
    return {"files": [{"path": "model.bin", "size": 1, "sha256": DIGESTS[files], "format": "unknown"}], **facts}


def test_the_same_bytes_are_identical_whatever_was_said_of_them() -> None:
    found = compare(manifest(metrics={"loss": 1.0}), manifest(metrics={"loss": 9.0}), (), contract=None)
    assert found.outcome == "identical"
    assert [one.path for one in found.differences] == ["metrics/loss"]


@given(st.floats(-1e9, 1e9), st.floats(0, 1), st.floats(-2, 2))
def test_a_metric_may_be_off_by_what_the_contract_allows_in_either_direction(
    value: float, allowed: float, off: float
) -> None:
    tolerance = Tolerance(metric="accuracy", absolute=allowed)
    again = value + off
    found = compare(
        manifest(metrics={"accuracy": value}),
        manifest("two", metrics={"accuracy": again}),
        [tolerance],
        contract=3,
    )
    assert found.outcome == ("within-tolerance" if abs(again - value) <= allowed else "differs")
    assert "revision 3" in found.judged_by


@pytest.mark.parametrize(
    ("again", "outcome"),
    [(0.97, "within-tolerance"), (math.nextafter(0.97, 1), "within-tolerance"), (0.9701, "differs"), (0.99, "differs")],
)
def test_without_a_contract_only_rounding_is_forgiven(again: float, outcome: str) -> None:
    found = compare(
        manifest(metrics={"accuracy": 0.97}), manifest("two", metrics={"accuracy": again}), (), contract=None
    )
    assert found.outcome == outcome
    assert "1e-06 by default" in found.judged_by


def test_a_metric_that_is_gone_differs_and_one_that_is_new_does_not() -> None:
    gone = compare(manifest(metrics={"a": 1.0}), manifest("two", metrics={"b": 1.0}), (), contract=None)
    more = compare(manifest(metrics={"a": 1.0}), manifest("two", metrics={"a": 1.0, "b": 1.0}), (), contract=None)
    assert gone.outcome == "differs"
    assert more.outcome == "within-tolerance"


def test_without_metrics_other_bytes_are_no_reproduction() -> None:
    assert compare(manifest(), manifest("two"), (), contract=None).outcome == "differs"


def test_what_differs_is_named_with_both_values_and_run_ids_are_not() -> None:
    dataset = {"name": "mnist", "digest": "sha256:1"}
    found = compare(
        manifest(run_id="r1", params={"lr": 0.1}, datasets=[dataset], environment={"packages": {"numpy": "2.3"}}),
        manifest(
            "two",
            run_id="r2",
            params={"lr": 0.2},
            datasets=[{**dataset, "digest": "sha256:2"}],
            environment={"packages": {"numpy": "2.4"}},
            code={"commit": "abc"},
        ),
        (),
        contract=None,
    )
    shown = found.differences_as_json()["items"]
    assert [one["path"] for one in shown] == [
        "datasets/mnist", "code/commit", "environment/packages/numpy", "params/lr", "files/model.bin",
    ]  # fmt: skip
    assert shown[3] == {"path": "params/lr", "original": 0.1, "reproduction": 0.2}


def test_an_answer_is_bounded() -> None:
    many = {f"p{number}": "x" * 5000 for number in range(1000)}
    found = compare(manifest(params=many), manifest("two"), (), contract=None).differences_as_json()
    assert len(found["items"]) == MAX_DIFFERENCES
    assert found["left_out"] == 1001 - MAX_DIFFERENCES
    assert found["items"][0]["original"]["value_size"] == 5002


def test_a_plan_refuses_to_repeat_what_is_no_version() -> None:
    first = commit()
    again, lost = commit(), commit()
    repeats = {first.sealed.draft.id: again, f"sha256:{'0' * 64}": lost}
    made = [first]
    for of_id, one in repeats.items():
        publication = one.sealed.draft.publication.model_copy(update={"reproduces": of_id})
        made.append(replace(one, sealed=replace(one.sealed, draft=replace(one.sealed.draft, publication=publication))))
    outcomes = plan(state(digits=0), made).outcomes
    assert [type(outcome) for outcome in outcomes] == [NewVersion, NewVersion, Refused]
    assert isinstance(outcomes[2], Refused)
    assert outcomes[2].error.code == "reproduces_unknown"
