"""The verdict: what was found against what was declared."""

from __future__ import annotations

from typing import Any

import pytest

from muniment.checksum_validator.domain import Found, differs, judge, mismatch
from muniment.checksum_validator.formats import Finding, Inspection
from muniment.contracts.errors import Rejected
from muniment.contracts.events import ObjectLocation, StagedFile

PLACE = ObjectLocation(bucket="b", key="k", version_id="v")


def declared(path: str = "model.onnx", **changes: Any) -> StagedFile:
    values = {"path": path, "sha256": "a" * 64, "size": 3, "location": PLACE, "origin": "upload", **changes}
    return StagedFile.model_validate(values)


def found(inspection: Inspection, sha256: str = "a" * 64, size: int = 3) -> Found:
    return Found(PLACE, sha256, size, inspection)


def clean(**facts: Any) -> Inspection:
    return Inspection("onnx", facts, (), executable=False)


def test_size_and_digest_both_count() -> None:
    assert not differs(declared(), found(clean()))
    assert differs(declared(), found(clean(), sha256="b" * 64))
    assert differs(declared(), found(clean(), size=4))


def test_a_mismatch_names_both_values() -> None:
    size = mismatch(declared(), found(clean(), size=4))
    assert (size.code, size.expected, size.actual) == ("size_mismatch", "3 B", "4 B")
    digest = mismatch(declared(), found(clean(), sha256="b" * 64))
    assert (digest.code, digest.actual) == ("digest_mismatch", "sha256:" + "b" * 64)


def test_the_format_is_the_one_that_was_found() -> None:
    validated = judge(declared(format=None), found(clean()), allow_executable=False)
    assert (validated.format, validated.sha256, validated.location) == ("onnx", "a" * 64, PLACE)


def test_a_blocking_finding_rejects_with_its_own_code() -> None:
    finding = Finding("polyglot", "two formats at once", "blocked", "onnx", "zip")
    with pytest.raises(Rejected) as caught:
        judge(declared(), found(Inspection("onnx", {}, (finding,), executable=False)), allow_executable=True)
    assert (caught.value.code, caught.value.expected, caught.value.actual) == ("polyglot", "onnx", "zip")


def test_a_warning_passes_and_is_kept() -> None:
    finding = Finding("zip_expands", "expands twofold", "warning")
    validated = judge(declared(), found(Inspection("zip", {}, (finding,), executable=False)), allow_executable=False)
    assert validated.findings == ("zip_expands: expands twofold",)


def test_what_can_run_code_passes_only_where_that_is_allowed() -> None:
    pickled = found(Inspection("pickle", {}, (), executable=True))
    with pytest.raises(Rejected) as caught:
        judge(declared(), pickled, allow_executable=False)
    assert caught.value.code == "format_executable"
    assert judge(declared(), pickled, allow_executable=True).format == "pickle"


@pytest.mark.parametrize(
    ("path", "named", "siblings", "missing"),
    [
        ("model.onnx", ["weights.bin"], {"model.onnx", "weights.bin"}, None),
        ("deep/model.onnx", ["weights.bin"], {"deep/model.onnx", "deep/weights.bin"}, None),
        ("deep/model.onnx", ["weights.bin"], {"deep/model.onnx", "weights.bin"}, "deep/weights.bin"),
        ("model.onnx", ["weights.bin"], {"model.onnx"}, "weights.bin"),
    ],
)
def test_files_that_a_model_refers_to_are_published_with_it(
    path: str, named: list[str], siblings: set[str], missing: str | None
) -> None:
    inspected = found(clean(external_data=named))
    if missing is None:
        assert judge(declared(path), inspected, allow_executable=False, siblings=frozenset(siblings)).path == path
        return
    with pytest.raises(Rejected) as caught:
        judge(declared(path), inspected, allow_executable=False, siblings=frozenset(siblings))
    assert (caught.value.code, caught.value.expected) == ("external_data_missing", missing)
