"""Numbers, heads and refusals, decided on plain values."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.events import ModelValidated
from muniment.ports.blobs import Location
from muniment.registry.domain import (
    Commit,
    Matched,
    ModelState,
    NewVersion,
    Refused,
    Sealed,
    State,
    Track,
    draft,
    plan,
)

TRACKS = {name: Track(name, "COMPLIANCE", 60) for name in ("production", "experimental")}
_ids = itertools.count(1)


def commit(
    model: str = "digits", branch: str = "main", run: str | None = None, parents: tuple[str, ...] = ()
) -> Commit:
    number = next(_ids)
    publication = ModelValidated.model_validate(
        {
            "publication_id": f"00000000-0000-0000-0000-{number:012}",
            "model": model,
            "branch": branch,
            "operator": "muniment|ci",
            "authenticated_by": "token",
            "facts": {"run_id": run or f"run-{number}", "parents": [{"id": parent} for parent in parents]},
            "files": [
                {
                    "path": "a",
                    "sha256": "a" * 64,
                    "size": 1,
                    "format": "unknown",
                    "location": {"bucket": "b", "key": "k", "version_id": "v"},
                }
            ],
        }
    )
    sealed = Sealed(draft(publication, TRACKS), Location("b", "m", "v"), datetime(2030, 1, 1, tzinfo=UTC))
    return Commit(sealed, "muniment|ci", "token", f"event {number}")


def state(**models: int) -> State:
    return State({name.lower(): ModelState(i, name, last) for i, (name, last) in enumerate(models.items())}, {}, {})  # type: ignore[arg-type]


def test_numbers_follow_the_last_one_and_heads_follow_each_other() -> None:
    first, second, other = commit(), commit(), commit(branch="exp/a")
    outcomes = plan(state(digits=6), [first, second, other]).outcomes
    assert [o.number for o in outcomes if isinstance(o, NewVersion)] == [7, 8, 9]
    assert isinstance(outcomes[1], NewVersion)
    assert outcomes[1].previous is not None
    assert outcomes[1].previous.id == first.sealed.draft.id
    assert isinstance(outcomes[2], NewVersion)
    assert outcomes[2].previous is None, "another branch has its own line"


def test_the_same_manifest_twice_is_one_version() -> None:
    one, again = commit(run="r"), commit(run="r")
    outcomes = plan(state(digits=0), [one, again]).outcomes
    assert isinstance(outcomes[0], NewVersion)
    assert isinstance(outcomes[1], Matched)
    assert outcomes[1].version.number == 1
    assert outcomes[1].move is None


def test_the_same_manifest_on_another_branch_moves_that_branch() -> None:
    outcomes = plan(state(digits=0), [commit(run="r"), commit(run="r", branch="exp/a")]).outcomes
    assert isinstance(outcomes[1], Matched)
    assert outcomes[1].move == ("exp/a", None)


def test_a_name_that_differs_in_case_is_refused() -> None:
    outcomes = plan(state(Digits=0), [commit(model="digits")]).outcomes
    assert isinstance(outcomes[0], Refused)
    assert outcomes[0].error.code == "model_name_conflict"


def test_a_parent_must_be_committed_before() -> None:
    parent = commit()
    child = commit(parents=(parent.sealed.draft.id,))
    outcomes = plan(state(digits=0), [child, parent, commit(parents=(parent.sealed.draft.id,))]).outcomes
    assert isinstance(outcomes[0], Refused)
    assert outcomes[0].error.code == "parent_unknown"
    assert isinstance(outcomes[2], NewVersion)


def test_the_branch_decides_track_and_stability() -> None:
    outcomes: Any = plan(state(digits=0), [commit(), commit(branch="exp/a")]).outcomes
    assert [o.commit.sealed.draft.track.name for o in outcomes] == ["production", "experimental"]
    assert [o.stability for o in outcomes] == ["candidate", "experimental"]


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["main", "exp/x"]), st.integers(0, 5)), max_size=25)
)
def test_numbers_are_contiguous_and_no_version_is_lost(asked: list[tuple[str, str, int]]) -> None:
    commits = [commit(model, branch, f"run-{run}") for model, branch, run in asked]
    outcomes = plan(state(a=0, b=3), commits).outcomes
    assert len(outcomes) == len(commits)
    for model, start in (("a", 0), ("b", 3)):
        numbers = [o.number for o in outcomes if isinstance(o, NewVersion) and o.model.name == model]
        assert numbers == list(range(start + 1, start + 1 + len(numbers)))
        distinct = {c.sealed.draft.id for c in commits if c.sealed.draft.publication.model == model}
        assert len(numbers) == len(distinct)
    heads: dict[tuple[str, str], str] = {}
    for outcome in outcomes:
        if isinstance(outcome, NewVersion):
            key = (outcome.model.name, outcome.commit.sealed.draft.publication.branch)
            assert (outcome.previous.id if outcome.previous else None) == heads.get(key)
            heads[key] = outcome.commit.sealed.draft.id
        elif isinstance(outcome, Matched) and outcome.move:
            heads[outcome.version.model, outcome.move[0]] = outcome.version.id
