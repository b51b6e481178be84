"""What was found against what was declared. Pure: the reading is done, this decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from muniment.checksum_validator.formats import Inspection
from muniment.contracts.errors import Rejected
from muniment.contracts.events import ObjectLocation, StagedFile, ValidatedFile

_MAX_FINDINGS = 20


@dataclass(frozen=True, slots=True)
class Found:
    """What reading one file gave: its digest, its size, its format by content."""

    location: ObjectLocation
    sha256: str
    size: int
    inspection: Inspection | None = None


def differs(declared: StagedFile, found: Found) -> bool:
    """Whether the bytes are not the declared ones."""
    return found.sha256 != declared.sha256 or found.size != declared.size


def mismatch(declared: StagedFile, found: Found) -> Rejected:
    """The verdict on bytes that were read twice and are not the declared ones."""
    if found.size != declared.size:
        return Rejected(
            "size_mismatch",
            f"{declared.path} has another size than declared",
            expected=f"{declared.size} B",
            actual=f"{found.size} B",
            hint="publish the file as it is in the store, or put the declared one there",
        )
    return Rejected(
        "digest_mismatch",
        f"{declared.path} has another SHA-256 than declared",
        expected=f"sha256:{declared.sha256}",
        actual=f"sha256:{found.sha256}",
        hint="the file changed after it was hashed, or another file was uploaded: publish it again",
    )


def judge(
    declared: StagedFile, found: Found, *, allow_executable: bool, siblings: frozenset[str] = frozenset()
) -> ValidatedFile:
    """The file as validated. `siblings` are the paths of the whole publication.

    Raises `Rejected` for a blocked finding, an executable format that is not allowed, or a reference to a file that is
    not published with it (`external_data_missing`): a version must be whole.
    """
    inspection = found.inspection
    assert inspection is not None  # noqa: S101  # reason: only files whose digest fits are inspected and judged
    for finding in inspection.findings:
        if finding.severity == "blocked":
            raise Rejected(
                finding.code,
                f"{declared.path}: {finding.detail}",
                expected=finding.expected,
                actual=finding.actual,
                hint=finding.hint or "save the model as safetensors or ONNX",
            )
    if inspection.executable and not allow_executable:
        raise Rejected(
            "format_executable",
            f"{declared.path} can run code when it is loaded",
            expected="a format that holds data only, such as safetensors, ONNX or GGUF",
            actual=inspection.format,
            hint="save it as safetensors, or let it pass with MUNIMENT_VALIDATOR__ALLOW_EXECUTABLE=true",
        )
    for path in _external_data(declared.path, inspection.facts):
        if path not in siblings:
            raise Rejected(
                "external_data_missing",
                f"{declared.path} keeps tensors in a file that is not published with it",
                expected=path,
                actual=f"{len(siblings)} files, not that one",
                hint="publish the folder with all files of the model",
            )
    findings = tuple(f"{finding.code}: {finding.detail}"[:2000] for finding in inspection.findings[:_MAX_FINDINGS])
    return ValidatedFile(
        path=declared.path,
        sha256=declared.sha256,
        size=found.size,
        format=inspection.format,
        role=declared.role,
        location=found.location,
        findings=findings,
    )


def _external_data(path: str, facts: Mapping[str, object]) -> list[str]:
    """The files that an ONNX model names for its tensors, relative to its own folder, as paths of the publication."""
    named = facts.get("external_data")
    folder = path.rpartition("/")[0]
    return [f"{folder}/{name}" if folder else str(name) for name in named] if isinstance(named, list) else []
