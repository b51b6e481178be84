"""Manifests side by side: what changed, by how much, and which way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.errors import Rejected
from muniment.registry.comparing.manifests import SECTIONS, Row, compare_manifests


def manifest(**facts: Any) -> dict[str, Any]:
    file = {"path": "model.bin", "size": 1, "sha256": "a" * 64, "format": "raw", "role": "weights"}
    return {"model": "digits", "files": [file], **facts}


@pytest.mark.parametrize("count", [0, 1, 7])
def test_the_number_of_versions_is_bounded(count: int) -> None:
    with pytest.raises(Rejected) as refused:
        compare_manifests([manifest()] * count)
    assert refused.value.code == "compare_count_invalid"


def test_a_metric_has_its_delta_and_a_direction_only_where_one_is_known() -> None:
    first = manifest(metrics={"accuracy": 0.5, "loss": 1.0, "seen": 10.0})
    second = manifest(metrics={"accuracy": 0.75, "loss": 1.5, "seen": 20.0})
    rows = compare_manifests([first, second], {"accuracy": "higher", "loss": "lower"})["metrics"]
    both = (True, True)
    assert rows == [
        Row("accuracy", (0.5, 0.75), both, True, (0.0, 0.25), (None, "better")),
        Row("loss", (1.0, 1.5), both, True, (0.0, 0.5), (None, "worse")),
        Row("seen", (10.0, 20.0), both, True, (0.0, 10.0), (None, None)),
    ]


def test_a_difference_beyond_a_float_is_no_infinity() -> None:
    (row,) = compare_manifests([manifest(metrics={"m": -1.7e308}), manifest(metrics={"m": 1.7e308})])["metrics"]
    assert row.deltas == (0.0, None)


@pytest.mark.parametrize(("one", "other"), [(True, 1), (1, "1"), (0, None)])
def test_values_of_different_kinds_are_a_change(one: Any, other: Any) -> None:
    (row,) = compare_manifests([manifest(params={"p": one}), manifest(params={"p": other})])["params"]
    assert row.values == (one, other)


def test_a_null_is_not_an_absent_field() -> None:
    (row,) = compare_manifests([manifest(params={"p": None}), manifest()])["params"]
    assert row.present == (True, False)


def test_a_dataset_with_another_digest_and_a_package_are_found() -> None:
    first = manifest(datasets=[{"name": "d", "digest": "x"}], environment={"python": "3.11", "packages": {"a": "1"}})
    second = manifest(datasets=[{"name": "d", "digest": "y"}], environment={"python": "3.11", "packages": {"a": "2"}})
    answer = compare_manifests([first, second])
    assert {name: [row.name for row in rows] for name, rows in answer.items() if rows} == {
        "packages": ["a"],
        "datasets": ["d"],
    }


params = st.dictionaries(st.text(max_size=3), st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=2)))


@given(st.lists(params, min_size=2, max_size=6))
def test_only_changed_drops_just_the_rows_that_agree(columns: list[dict[str, Any]]) -> None:
    manifests = [manifest(params=column) for column in columns]
    every, changed = compare_manifests(manifests, only_changed=False), compare_manifests(manifests)
    assert {row.name for row in every["params"]} == {name for column in columns for name in column}
    for section in SECTIONS:
        assert changed[section] == [row for row in every[section] if row.changed]
    assert all(not rows for rows in compare_manifests([manifests[0]] * 2).values())
