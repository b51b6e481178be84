"""Filters: who hears of what."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts import topics
from muniment.contracts.conditions import Condition, TagWish
from muniment.contracts.errors import Rejected
from muniment.contracts.events import ModelRejected, RegistryChanged, VersionAvailable
from muniment.notifier.domain import (
    TOPICS,
    Facts,
    Filter,
    FilterSet,
    delivery_id,
    facts_of,
    facts_of_json,
    filter_of,
    glob_matches,
    type_name,
)

AVAILABLE = Facts("version-available", "Digits", "exp/dropout", "stable", "production")
REJECTED = Facts("model-rejected", "digits")
PLACE = {"bucket": "b", "key": "k", "version_id": "v"}
VERSION = {
    "publication_id": str(uuid.UUID(int=1)),
    "model": "digits",
    "number": 1,
    "id": "sha256:" + "0" * 64,
    "branch": "main",
    "stability": "stable",
    "track": "production",
    "operator": "muniment|ada",
    "committed_at": "2026-11-23T12:00:00Z",
    "tags": {"env": "test"},
    "metrics": {"accuracy": 1},
    "manifest": PLACE,
    "files": [{"path": "a", "sha256": "a" * 64, "size": 1, "format": "onnx", "location": PLACE}],
}


def test_the_consumed_topics_are_the_outward_ones_that_name_the_service() -> None:
    assert {topic.name for topic in TOPICS} == {
        "version-available",
        "model-rejected",
        "registry-changed",
        "baseline-changed",
        "baseline-diverged",
        "release-published",
        "integrity-violated",
        "integrity-restored",
    }
    assert topics.AUDIT_LOG not in TOPICS


@pytest.mark.parametrize(
    ("fields", "available", "rejected"),
    [
        ({}, True, True),
        ({"types": ["version-available"]}, True, False),
        ({"types": ["muniment.model-rejected.v1"]}, False, True),
        ({"model": "digits"}, True, True),
        ({"model": "DIGITS"}, True, True),
        ({"model": "dig*"}, True, True),
        ({"model": "d?gits"}, True, True),
        ({"model": "digit"}, False, False),
        ({"branch": "exp/*"}, True, False),
        ({"branch": "main"}, False, False),
        ({"stability": "stable"}, True, False),
        ({"stability": "experimental"}, False, False),
        ({"track": "production"}, True, False),
        ({"track": "other"}, False, False),
        ({"types": ["version-available"], "model": "dig*", "branch": "*", "stability": "stable"}, True, False),
    ],
)
def test_every_wish_must_be_met(fields: dict[str, Any], available: bool, rejected: bool) -> None:
    wanted = filter_of(fields)
    assert (wanted.matches(AVAILABLE), wanted.matches(REJECTED)) == (available, rejected)


@pytest.mark.parametrize(
    "fields",
    [
        {"types": ["nonsense"]},
        {"types": "version-available"},
        {"types": [1]},
        {"types": ["audit-log"]},
        {"model": ""},
        {"model": "a" * 129},
        {"model": "dig[it]s"},
        {"model": "a b"},
        {"model": 5},
        {"model": "digits\n"},
        {"branch": "exp\\*"},
        {"stability": "rock-solid"},
        {"track": ""},
        {"track": "a\nb"},
        {"track": "x" * 257},
        {"metric": "accuracy"},
    ],
)
def test_what_could_never_work_is_refused_at_once(fields: dict[str, Any]) -> None:
    with pytest.raises(Rejected) as caught:
        filter_of(fields)
    assert caught.value.code == "filter_invalid"


def test_an_unknown_type_names_the_known_ones() -> None:
    with pytest.raises(Rejected, match=r"model-rejected, version-available, .*registry-changed"):
        type_name("model-trained")


@given(
    st.text(alphabet="ab*?", max_size=12),
    st.text(alphabet="ab", max_size=12),
)
def test_globs_mean_what_the_regular_expression_means(pattern: str, text: str) -> None:
    expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    assert glob_matches(pattern, text) == bool(re.fullmatch(expression, text))


def test_a_hostile_glob_takes_no_more_than_pattern_times_text_steps() -> None:
    steps = 0

    class Counting(str):
        __slots__ = ()

        def __getitem__(self, key: Any) -> str:
            nonlocal steps
            steps += 1
            return super().__getitem__(key)

    pattern, text = Counting("*a" * 63 + "*b"), "a" * 128
    assert not glob_matches(pattern, text)
    assert steps <= 4 * len(pattern) * len(text)


names = st.text(alphabet="abAB", min_size=1, max_size=3)
globs = st.one_of(names, st.text(alphabet="aB*?", min_size=1, max_size=3))
conditions = st.builds(
    Condition, st.sampled_from(["a", "b"]), st.sampled_from([">=", "<"]), st.sampled_from([0.0, 1.0])
)
tags = st.builds(TagWish, st.sampled_from(["k", "l"]), st.none() | st.sampled_from(["x", "y"]))
filters = st.builds(
    Filter,
    types=st.frozensets(st.sampled_from(["version-available", "model-rejected"])),
    model=st.none() | globs,
    branch=st.none() | st.just("main"),
    stability=st.none() | st.sampled_from(["stable", "candidate"]),
    track=st.none() | st.just("production"),
    tags=st.lists(tags, max_size=2, unique=True).map(tuple),
    metrics=st.lists(conditions, max_size=2, unique=True).map(tuple),
)
facts = st.builds(
    Facts,
    type=st.sampled_from(["version-available", "model-rejected"]),
    model=st.none() | names,
    branch=st.none() | st.sampled_from(["main", "exp"]),
    stability=st.none() | st.sampled_from(["stable", "candidate"]),
    track=st.none() | st.sampled_from(["production", "other"]),
    tags=st.dictionaries(st.sampled_from(["k", "l"]), st.sampled_from(["x", "y"])),
    metrics=st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from([0.0, 0.5, 1.0])),
)


@given(st.lists(filters, max_size=20), facts)
def test_the_set_finds_exactly_the_filters_that_match(wanted: list[Filter], event: Facts) -> None:
    rows = [(uuid.UUID(int=number), item) for number, item in enumerate(wanted)]
    found = list(FilterSet.of(rows).matching(event))
    assert sorted(found) == [key for key, item in rows if item.matches(event)]


@given(filters)
def test_filters_survive_being_stored(wanted: Filter) -> None:
    assert filter_of(wanted.fields()) == wanted


def test_one_event_and_subscription_have_one_delivery_for_ever() -> None:
    one, two = uuid.UUID(int=1), uuid.UUID(int=2)
    assert len({delivery_id(a, b) for a in (one, two) for b in (one, two)}) == 4
    assert delivery_id(one, two) == delivery_id(one, two)
    assert "." not in str(delivery_id(one, two))


def test_facts_come_from_whatever_the_event_has() -> None:
    rejected = ModelRejected(
        publication_id="5f1d7a0e-7f0e-4b0a-9f43-5a6f2c1d7e90",
        model="digits",
        operator="muniment|ada",
        stage="validation",
        code="digest_mismatch",
        message="no",
    )
    assert facts_of(topics.MODEL_REJECTED, rejected) == Facts("model-rejected", "digits")
    available = VersionAvailable.model_validate(VERSION)
    found = facts_of(topics.VERSION_AVAILABLE, available)
    assert (found.tags, found.metrics, found.stability) == ({"env": "test"}, {"accuracy": 1.0}, "stable")
    stored = {"type": topics.VERSION_AVAILABLE.type, "data": available.model_dump(mode="json", exclude_none=True)}
    assert facts_of_json(stored) == found
    for name, data, stability in (
        ("baseline-changed", {"model": "digits"}, "stable"),
        ("release-published", {"model": "digits", "prerelease": False}, "stable"),
        ("release-published", {"model": "digits", "prerelease": True}, "candidate"),
    ):
        told = facts_of_json({"type": f"muniment.{name}.v1", "data": data})
        assert told.stability == stability, "who waits for what is stable hears of it"
    moved = RegistryChanged(kind="branch-moved", model="digits", operator="muniment|ada", branch="exp/x")
    assert facts_of(topics.REGISTRY_CHANGED, moved).branch == "exp/x"
