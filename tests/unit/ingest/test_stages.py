"""The stage machine: monotonic, and the same outcome whatever order the topics are read in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.events import (
    Change,
    ModelRejected,
    RegistryChanged,
    ValidationProgressed,
    VersionAvailable,
)
from muniment.ingest.stages import (
    FINAL,
    RANK,
    SETTLED,
    Advance,
    Stage,
    join,
    of_available,
    of_progress,
    of_registry_change,
    of_rejected,
)

ONE = "00000000-0000-5000-8000-000000000001"
TWO = "00000000-0000-5000-8000-000000000002"
VERSION = "sha256:" + "ab" * 32


def progress(done: int) -> Advance:
    event = ValidationProgressed(publication_id=ONE, model="digits", bytes_done=done, bytes_total=100)
    return of_progress(event, f"progress-{done}")


def registry(kind: str, **fields: object) -> Advance:
    event = RegistryChanged.model_validate(
        {"kind": kind, "model": "digits", "operator": "muniment|ada", "publication_id": ONE, **fields}
    )
    advance = of_registry_change(event, kind)
    assert advance is not None
    return advance


def available() -> Advance:
    location = {"bucket": "b", "key": "k", "version_id": "v"}
    event = VersionAvailable.model_validate(
        {
            "publication_id": ONE,
            "model": "digits",
            "number": 7,
            "id": VERSION,
            "branch": "main",
            "stability": "stable",
            "track": "production",
            "operator": "muniment|ada",
            "committed_at": "2026-01-02T03:04:05Z",
            "manifest": location,
            "files": [{"path": "a", "sha256": "ab" * 32, "size": 1, "format": "raw", "location": location}],
        }
    )
    return of_available(event, "available")


def rejected() -> Advance:
    event = ModelRejected(
        publication_id=ONE,
        model="digits",
        operator="muniment|ada",
        stage="validation",
        code="digest_mismatch",
        message="another digest",
        expected="aa",
        actual="bb",
    )
    return of_rejected(event, "rejected")


# What may happen to one publication, by how it ends. Exactly one service decides the end.
LIVES: dict[Stage, tuple[Advance, ...]] = {
    "committed": (progress(10), progress(60), progress(100), registry("candidate-added"), available()),
    "rejected": (progress(10), progress(40), rejected()),
    "candidate": (progress(100), registry("candidate-added")),
    "validating": (progress(30), progress(80)),
}


def outcome(events: Sequence[Advance]) -> Advance:
    (joined,) = join(events)
    return joined


def test_every_stage_has_a_rank_and_the_final_ones_share_the_highest() -> None:
    assert set(RANK) == set(get_args(Stage))
    assert {stage for stage, rank in RANK.items() if rank == FINAL} == {"committed", "rejected", "abandoned"}
    assert max(RANK.values()) == FINAL
    assert {stage for stage, rank in RANK.items() if rank == FINAL} <= SETTLED


@given(st.data())
def test_any_order_and_any_repetition_give_the_same_outcome(data: st.DataObject) -> None:
    end = data.draw(st.sampled_from(sorted(LIVES)))
    life = LIVES[end]
    events = data.draw(st.permutations([*life, *data.draw(st.lists(st.sampled_from(life), max_size=4))]))
    joined = outcome(events)
    expected = outcome(life)
    assert joined.stage == end
    assert (joined.version, joined.rejection) == (expected.version, expected.rejection)
    assert (joined.bytes_done, joined.bytes_total) == (expected.bytes_done, expected.bytes_total)


@given(st.lists(st.sampled_from([one for life in LIVES.values() for one in life]), min_size=1, max_size=12))
def test_the_stage_never_falls_and_a_final_one_never_changes(events: list[Advance]) -> None:
    seen = [outcome(events[: count + 1]) for count in range(len(events))]
    for earlier, later in pairwise(seen):
        assert RANK[later.stage] >= RANK[earlier.stage]
        if RANK[earlier.stage] == FINAL:
            assert (later.stage, later.cause, later.version, later.rejection) == (
                earlier.stage,
                earlier.cause,
                earlier.version,
                earlier.rejection,
            )


@given(st.lists(st.sampled_from(LIVES["committed"]), min_size=1), st.lists(st.sampled_from(LIVES["committed"])))
def test_batches_may_be_cut_anywhere(first: list[Advance], second: list[Advance]) -> None:
    assert outcome([outcome(first), *second]) == outcome([*first, *second])


def test_publications_are_kept_apart_and_sorted() -> None:
    other = Advance(TWO, "candidate", "x")
    joined = join([other, progress(10), Advance(TWO, "validating", "y")])
    assert [(one.publication_id, one.stage) for one in joined] == [(ONE, "validating"), (TWO, "candidate")]


def test_a_version_says_what_it_is() -> None:
    version = available().version
    assert version == {
        "id": VERSION,
        "number": 7,
        "branch": "main",
        "previous": None,
        "stability": "stable",
        "track": "production",
        "operator": "muniment|ada",
        "committed_at": "2026-01-02T03:04:05.000000Z",
    }


def test_a_match_names_the_version_that_was_there() -> None:
    advance = registry("publication-matched", version=VERSION, number=3, branch="main")
    assert advance.stage == "committed"
    assert advance.version == {"id": VERSION, "number": 3, "branch": "main"}


def test_a_refused_candidate_is_rejected_with_the_reason() -> None:
    reason = Change(path="reason", after="not good enough")
    rejection = registry("candidate-refused", changes=[reason]).rejection
    assert rejection is not None
    assert rejection["code"] == "candidate_refused"
    assert "not good enough" in rejection["message"]


def test_a_rejection_keeps_what_was_compared() -> None:
    rejection = rejected().rejection
    assert rejection is not None
    assert (rejection["stage"], rejection["expected"], rejection["actual"]) == ("validation", "aa", "bb")


@pytest.mark.parametrize("kind", ["branch-moved", "model-created"])
def test_other_changes_in_the_registry_mean_nothing_to_a_publication(kind: str) -> None:
    event = RegistryChanged.model_validate({"kind": kind, "model": "digits", "operator": "o", "publication_id": ONE})
    assert of_registry_change(event, "x") is None


def test_a_change_without_a_publication_means_nothing() -> None:
    event = RegistryChanged(kind="candidate-added", model="digits", operator="o")
    assert of_registry_change(event, "x") is None
