"""The manifest: canonical JSON of everything that makes a version. Its SHA-256 is the version's id.

Two publications with equal manifests are the same version; two that differ in anything, a run id included, are not.
What may change without making another version (branch, number, tags, description, track) is not in it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, StrictBool, StrictInt, model_validator

from muniment.contracts.canonical import canonical_json, sha256_hex
from muniment.contracts.errors import Rejected
from muniment.contracts.ids import VersionId
from muniment.contracts.model import (
    ByteCount,
    FilePathField,
    Line,
    ModelNameField,
    Number,
    Payload,
    Scalar,
    Sha256Field,
    VersionIdField,
    Word,
)

SCHEMA: Final = "muniment.manifest/v1"
MAX_FILES: Final = 2_000
MAX_FIELDS: Final = 10_000

ParentKind = Literal["derived", "fine-tune", "distil", "merge", "quantise"]


class Parent(Payload):
    """A version this one was made from, named by the publisher."""

    id: VersionIdField
    kind: ParentKind = "derived"


class Dataset(Payload):
    """Data the run has read: a name, and as much of its identity as the publisher knows."""

    name: Word
    uri: Line | None = None
    digest: Word | None = None
    split: Word | None = None
    rows: Annotated[StrictInt, Field(ge=0)] | None = None


class Code(Payload):
    """The code the run was started from. `patch_sha256` names the uncommitted changes when `dirty`."""

    repository: Line | None = None
    commit: Word | None = None
    branch: Word | None = None
    dirty: StrictBool | None = None
    patch_sha256: Sha256Field | None = None
    command: Line | None = None


class Environment(Payload):
    """Where the run took place."""

    python: Word | None = None
    platform: Word | None = None
    image: Line | None = None
    packages: Annotated[dict[Word, Word], Field(max_length=MAX_FIELDS)] = {}
    hardware: Annotated[dict[Word, Word], Field(max_length=100)] = {}


class TrainingFacts(Payload):
    """What a training run says of itself."""

    run_id: Word | None = None
    experiment_id: Word | None = None
    params: Annotated[dict[Word, Scalar], Field(max_length=MAX_FIELDS)] = {}
    hyperparams: Annotated[dict[Word, Scalar], Field(max_length=MAX_FIELDS)] = {}
    metrics: Annotated[dict[Word, Number], Field(max_length=MAX_FIELDS)] = {}
    datasets: Annotated[tuple[Dataset, ...], Field(max_length=1_000)] = ()
    code: Code | None = None
    environment: Environment | None = None
    parents: Annotated[tuple[Parent, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _parents_are_distinct(self) -> TrainingFacts:
        seen: set[str] = set()
        for parent in self.parents:
            if parent.id in seen:
                error = Rejected("parent_repeated", "a parent is named twice", expected="each once", actual=parent.id)
                raise ValueError("parent_repeated") from error
            seen.add(parent.id)
        return self


class ManifestFile(Payload):
    """One file of a version. `format` is what the validator found in the bytes, never what a name claims."""

    path: FilePathField
    size: ByteCount
    sha256: Sha256Field
    format: Word
    role: Word = "file"


class Manifest(Payload):
    """Everything that makes a version. Serialise it with `manifest_bytes`, name it with `manifest_id`."""

    model: ModelNameField
    files: Annotated[tuple[ManifestFile, ...], Field(min_length=1, max_length=MAX_FILES)]
    facts: TrainingFacts


def manifest_bytes(manifest: Manifest) -> bytes:
    """The RFC 8785 text whose digest is the version id. Files and parents are sorted; empty facts are left out."""
    facts = _without_empty(manifest.facts.model_dump(mode="json"))
    if "datasets" in facts:
        facts["datasets"] = [{k: v for k, v in dataset.items() if v is not None} for dataset in facts["datasets"]]
    if "parents" in facts:
        facts["parents"] = sorted(facts["parents"], key=lambda parent: (parent["id"], parent["kind"]))
    files = sorted((file.model_dump(mode="json") for file in manifest.files), key=lambda file: file["path"])
    return canonical_json({"schema": SCHEMA, "model": manifest.model, "files": files, **facts})


def manifest_id(text: bytes) -> VersionId:
    """The version id of a manifest's canonical text."""
    return VersionId("sha256:" + sha256_hex(text))


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        inner = _without_empty(value) if name in {"code", "environment"} and value else value
        if inner is None or inner == {} or inner == []:
            continue
        kept[name] = inner
    return kept
