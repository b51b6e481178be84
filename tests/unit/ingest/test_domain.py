"""What ingest decides by itself about a declared publication."""

from __future__ import annotations

import bisect
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts import strict_json
from muniment.contracts.codec import parse
from muniment.contracts.errors import Forbidden, Rejected
from muniment.contracts.events import ModelRejected, StagedFile, TrainingCompleted
from muniment.contracts.identity import Author
from muniment.contracts.ids import PublicationId, publication_id_of
from muniment.ingest import domain
from muniment.ingest.domain import Declaration, Refusal

ADA = Author("muniment|ada", "token")
ID = PublicationId("00000000-0000-5000-8000-000000000001")


def declared(*files: dict[str, Any], **fields: Any) -> TrainingCompleted:
    given_files = files or ({"path": "a", "sha256": "aa" * 32, "size": 3},)
    return parse(TrainingCompleted, {"model": "digits", "files": list(given_files), **fields})


def refusal_of(publication: TrainingCompleted) -> Refusal:
    refusal = domain.check(Declaration.of(publication))
    assert refusal is not None
    return refusal


# -- files


def test_a_good_declaration_passes() -> None:
    assert domain.check(Declaration.of(declared())) is None


def test_an_empty_file_is_refused() -> None:
    refusal = refusal_of(declared({"path": "empty", "sha256": "aa" * 32, "size": 0}))
    assert (refusal.error.code, refusal.file, refusal.error.actual) == ("file_empty", "empty", "0 B")


def test_one_digest_cannot_have_two_sizes() -> None:
    refusal = refusal_of(
        declared({"path": "a", "sha256": "aa" * 32, "size": 3}, {"path": "b", "sha256": "aa" * 32, "size": 4})
    )
    assert (refusal.error.code, refusal.file) == ("size_contradiction", "b")
    assert (refusal.error.expected, refusal.error.actual) == ("3 B", "4 B")


def test_a_version_id_alone_names_nothing() -> None:
    refusal = refusal_of(declared({"path": "a", "sha256": "aa" * 32, "size": 3, "version_id": "7"}))
    assert (refusal.error.code, refusal.file) == ("version_id_without_location", "a")


def test_a_publication_that_would_not_fit_into_an_event_is_refused() -> None:
    files = [{"path": f"{number:04}" + "x" * 300, "sha256": f"{number:064x}", "size": 1} for number in range(1900)]
    refusal = refusal_of(declared(*files))
    assert refusal.error.code == "publication_too_large"


def test_the_largest_publication_that_is_taken_fits_into_an_event() -> None:
    many: list[dict[str, Any]] = [
        {"path": f"{number:04}" + "x" * 100, "sha256": f"{number:064x}", "size": 2**50, "format": "safetensors"}
        for number in range(1, 2000)
    ]
    refused = bisect.bisect_left(
        range(1, 2000), True, key=lambda count: domain.check(Declaration.of(declared(*many[:count]))) is not None
    )
    files = many[:refused]
    publication = declared(*files)
    staged = [
        {
            **file,
            "origin": "upload",
            "location": {"bucket": "b" * 63, "key": f"blobs/sha256/ab/{file['sha256']}", "version_id": "v" * 64},
        }
        for file in files
    ]
    event = domain.trained(ID, publication, ADA, [parse(StagedFile, file) for file in staged])
    assert len(files) > 500
    assert len(event.model_dump_json(exclude_none=True)) <= strict_json.MAX_BYTES


@given(st.integers(1, 2**50), st.integers(1, 2**50))
def test_sizes_must_be_equal(one: int, other: int) -> None:
    if one == other:
        domain.check_size(one, other, "it")
        return
    with pytest.raises(Rejected) as caught:
        domain.check_size(one, other, "it")
    assert caught.value.code == "size_mismatch"
    assert (caught.value.expected, caught.value.actual) == (f"{one} B", f"{other} B")


def test_a_refusal_in_words_names_the_file_and_keeps_the_kind() -> None:
    error = Refusal(Forbidden("x", "not allowed", expected="a", actual="b", hint="c"), "weights.bin").named()
    assert isinstance(error, Forbidden)
    assert error.message == "weights.bin: not allowed"
    assert (error.code, error.expected, error.actual, error.hint) == ("x", "a", "b", "c")


# -- identity of a declaration


def test_spelling_does_not_make_another_declaration() -> None:
    one = declared(facts={"params": {"lr": 0.1, "depth": 3}}, branch="main")
    other = declared(facts={"params": {"depth": 3, "lr": 0.10}})
    assert Declaration.of(one).sha256 == Declaration.of(other).sha256


def test_content_makes_another_declaration() -> None:
    assert Declaration.of(declared(branch="exp/a")).sha256 != Declaration.of(declared(branch="exp/b")).sha256


numbers = st.one_of(st.integers(-(2**53) + 1, 2**53 - 1), st.floats(allow_nan=False, allow_infinity=False))


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), numbers, max_size=5))
def test_a_kept_declaration_reads_back_as_it_was(params: dict[str, int | float]) -> None:
    first = Declaration.of(declared(facts={"params": params}, tags={"a": "b"}))
    again = Declaration.read(first.text)
    assert again.declared == first.declared
    assert again.sha256 == first.sha256
    kinds = {name: type(value) for name, value in first.declared.facts.params.items()}
    assert {name: type(value) for name, value in again.declared.facts.params.items()} == kinds


def test_an_idempotency_key_belongs_to_one_operator() -> None:
    mine = domain.upload_publication_id("muniment|ada", "k1")
    assert mine == domain.upload_publication_id("muniment|ada", "k1")
    assert mine != domain.upload_publication_id("muniment|bob", "k1")
    assert mine != domain.upload_publication_id("muniment|ada", "k2")


def test_no_event_takes_the_id_of_an_idempotency_key() -> None:
    assert domain.upload_publication_id("muniment|ada", "k") != publication_id_of("http muniment|ada", "k")


# -- events


@given(st.text(max_size=3000), st.text(max_size=50), st.text(max_size=50))
def test_a_rejection_can_carry_whatever_an_error_says(message: str, actual: str, path: str) -> None:
    error = Rejected("some_code", message or "x", actual=actual)
    event = domain.rejected(ID, declared(), ADA, Refusal(error, path))
    read = parse(ModelRejected, json.loads(event.model_dump_json()))
    assert read == event
    assert (event.code, event.stage, event.operator) == ("some_code", "ingest", "muniment|ada")


def test_a_trained_event_repeats_what_was_declared_and_who_declared_it() -> None:
    publication = declared(
        branch="exp/a", commit="manual", track="production", description="d", tags={"k": "v"}, operator="muniment|ada"
    )
    event = domain.trained(
        ID,
        publication,
        ADA,
        [
            parse(
                StagedFile,
                {
                    "path": "a",
                    "sha256": "aa" * 32,
                    "size": 3,
                    "origin": "landing",
                    "location": {"bucket": "b", "key": "k", "version_id": "v"},
                },
            )
        ],
    )
    assert (event.branch, event.commit, event.track, event.description, event.tags) == (
        "exp/a",
        "manual",
        "production",
        "d",
        {"k": "v"},
    )
    assert (event.operator, event.authenticated_by, event.publication_id) == ("muniment|ada", "token", ID)
