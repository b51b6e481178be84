"""The manifest: the same facts give the same id in any order, and any other fact another one."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.codec import parse
from muniment.contracts.errors import Rejected
from muniment.contracts.events import TrainingCompleted
from muniment.contracts.manifest import Manifest, ManifestFile, TrainingFacts, manifest_bytes, manifest_id

FILES = [
    {"path": "b.json", "size": 2, "sha256": "b" * 64, "format": "json", "role": "config"},
    {"path": "a.safetensors", "size": 10, "sha256": "a" * 64, "format": "safetensors"},
]


def manifest(**facts: Any) -> Manifest:
    return Manifest.model_validate({"model": "digits", "files": FILES, "facts": facts})


def identity(**facts: Any) -> str:
    return manifest_id(manifest_bytes(manifest(**facts)))


def test_the_id_of_a_known_manifest_never_changes() -> None:
    text = manifest_bytes(manifest(run_id="r-1", params={"lr": 0.1, "epochs": 3}, metrics={"accuracy": 1.0}))
    assert text == (
        b'{"files":[{"format":"safetensors","path":"a.safetensors","role":"file","sha256":"'
        + b"a" * 64
        + b'","size":10},'
        b'{"format":"json","path":"b.json","role":"config","sha256":"'
        + b"b"
        * 64
        + b'","size":2}],"metrics":{"accuracy":1},'
        b'"model":"digits","params":{"epochs":3,"lr":0.1},"run_id":"r-1","schema":"muniment.manifest/v1"}'
    )
    assert manifest_id(text) == "sha256:" + hashlib.sha256(text).hexdigest()


def test_what_is_not_known_is_not_in_it() -> None:
    text = manifest_bytes(manifest(datasets=[{"name": "d", "uri": None}], code={"commit": "a"}, params={"x": None}))
    assert b'"datasets":[{"name":"d"}]' in text
    assert b'"code":{"commit":"a"}' in text
    assert b'"params":{"x":null}' in text, "a parameter that was given as null is a fact"


def test_order_and_empty_facts_do_not_matter() -> None:
    one = identity(params={"a": 1, "b": 2}, parents=[{"id": "sha256:" + "1" * 64}, {"id": "sha256:" + "2" * 64}])
    other = identity(
        parents=[{"id": "sha256:" + "2" * 64}, {"id": "sha256:" + "1" * 64}],
        params={"b": 2, "a": 1},
        code={},
        datasets=[],
    )
    assert one == other


@pytest.mark.parametrize(
    "facts",
    [
        {"run_id": "r-2"},
        {"experiment_id": "e"},
        {"params": {"lr": 0.1}},
        {"params": {"lr": "0.1"}},
        {"params": {"flag": True}},
        {"params": {"flag": 1}},
        {"hyperparams": {"lr": 0.1}},
        {"metrics": {"accuracy": 0.5}},
        {"datasets": [{"name": "d", "digest": "x"}]},
        {"code": {"commit": "abc"}},
        {"environment": {"packages": {"numpy": "2.0"}}},
        {"parents": [{"id": "sha256:" + "1" * 64}]},
        {"parents": [{"id": "sha256:" + "1" * 64, "kind": "fine-tune"}]},
    ],
    ids=str,
)
def test_each_fact_makes_another_version(facts: dict[str, Any]) -> None:
    others = [identity(), identity(run_id="r"), identity(params={"x": 1})]
    assert identity(**facts) not in others


scalars = (
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), scalars, max_size=5), st.randoms())
def test_the_id_is_a_function_of_the_facts(params: dict[str, Any], random: Any) -> None:
    shuffled = list(params.items())
    random.shuffle(shuffled)
    assert identity(params=params) == identity(params=dict(shuffled))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"metrics": {"a": float("nan")}}, "schema_invalid"),
        ({"metrics": {"a": "0.5"}}, "schema_invalid"),
        ({"parents": [{"id": "sha256:12"}]}, "version_id_invalid"),
        ({"parents": [{"id": "sha256:" + "1" * 64}, {"id": "sha256:" + "1" * 64}]}, "parent_repeated"),
        ({"run_id": "a\u202eb"}, "text_invalid"),
        ({"params": {"a": [1, 2]}}, "schema_invalid"),
    ],
    ids=str,
)
def test_facts_that_are_refused(change: dict[str, Any], code: str) -> None:
    with pytest.raises(Rejected) as caught:
        parse(TrainingFacts, change)
    assert caught.value.code == code


def test_two_files_with_one_path_are_refused() -> None:
    file = {"path": "a", "size": 1, "sha256": "a" * 64}
    with pytest.raises(Rejected) as caught:
        parse(TrainingCompleted, {"model": "digits", "files": [file, {**file, "path": "A"}]})
    assert caught.value.code == "file_path_repeated"


def test_numbers_beyond_json_are_refused_not_rounded() -> None:
    big = Manifest(
        model="digits",
        files=(ManifestFile.model_validate(FILES[0]),),
        facts=TrainingFacts(params={"n": 2**60}),
    )
    with pytest.raises(Rejected) as caught:
        manifest_bytes(big)
    assert caught.value.code == "not_canonical"
