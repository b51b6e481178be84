"""Refusals of payloads name the field, and carry the code, expected and actual of the check that refused it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from muniment.contracts.cloudevent import CloudEvent
from muniment.contracts.codec import parse, payload_of
from muniment.contracts.errors import Rejected
from muniment.contracts.events import TrainingCompleted
from muniment.contracts.topics import TRAINING_COMPLETED

FILE = {"path": "a", "sha256": "ab" * 32, "size": 1}


def refused(**changes: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        parse(TrainingCompleted, {"model": "digits", "files": [FILE], **changes})
    return caught.value


def test_a_fields_own_check_speaks_for_itself() -> None:
    error = refused(files=[{**FILE, "sha256": "AB" * 32}])
    assert error.code == "digest_invalid"
    assert error.message == "files.0.sha256: the digest is not a SHA-256"
    assert error.expected == "64 lower-case hexadecimal digits, with or without 'sha256:' before them"
    assert error.actual == repr("AB" * 32)


def test_of_a_field_of_several_types_the_check_is_heard() -> None:
    error = refused(facts={"params": {"p": "\x9b31m"}})
    assert (error.code, error.actual) == ("text_invalid", "U+009B")
    assert error.message.startswith("facts.params.p: ")


def test_a_check_of_the_whole_has_its_code() -> None:
    error = refused(files=[FILE, {**FILE, "path": "A"}])
    assert error.code == "file_path_repeated"
    assert error.message.startswith("the body: two files have one path")


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"surprise": 1}, "surprise: "),
        ({"a[b": 1}, "a[b: "),
        ({"files": []}, "files: "),
        ({"commit": "later"}, "commit: "),
        ({"facts": {"params": {"p": [1]}}}, "facts.params.p"),
    ],
)
def test_everything_else_is_schema_invalid_and_names_its_place(changes: dict[str, Any], place: str) -> None:
    error = refused(**changes)
    assert error.code == "schema_invalid"
    assert error.message.startswith(place)
    assert error.actual


@pytest.mark.parametrize(
    ("changes", "expected", "actual"),
    [
        ({"facts": {"params": {f"p{n}": n for n in range(10_001)}}}, "at most 10000 items", "10001 items"),
        ({"facts": {"metrics": {"accuracy": "high"}}}, "a valid number", "'high'"),
        ({"commit": "soon"}, "'auto' or 'manual'", "'soon'"),
        ({"modle": "digits"}, "no field of this name", "'digits'"),
        ({"files": [{"path": "a", "size": 1}]}, "a value", "nothing"),
    ],
)
def test_what_was_expected_and_what_was_there_are_told_apart(
    changes: dict[str, Any], expected: str, actual: str
) -> None:
    error = refused(**changes)
    assert (error.code, error.expected, error.actual) == ("schema_invalid", expected, actual)


def test_a_parent_that_is_named_twice_is_named() -> None:
    parent = {"id": "sha256:" + "1" * 64}
    error = refused(facts={"parents": [parent, parent]})
    assert (error.code, error.expected, error.actual) == ("parent_repeated", "each once", parent["id"])


def test_more_faults_are_counted() -> None:
    assert refused(one=1, two=2, three=3).message.endswith("(and 2 more)")


def event(**changes: Any) -> CloudEvent:
    data = json.dumps({"model": "digits", "files": [FILE], **changes}).encode()
    return CloudEvent(id="e", source="//t", type=TRAINING_COMPLETED.type, data=data)


def test_services_that_take_the_same_small_record_share_its_payload() -> None:
    first = payload_of(event(), TRAINING_COMPLETED)
    assert payload_of(event(), TRAINING_COMPLETED) is first
    assert payload_of(event(commit="manual"), TRAINING_COMPLETED) != first


def test_large_payloads_are_not_kept() -> None:
    large = event(facts={"params": {"p": "x" * 8000}})
    first, again = payload_of(large, TRAINING_COMPLETED), payload_of(large, TRAINING_COMPLETED)
    assert first == again
    assert first is not again


def test_what_is_refused_is_refused_again() -> None:
    for _ in range(2):
        with pytest.raises(Rejected):
            payload_of(event(surprise=1), TRAINING_COMPLETED)
