"""The events, past tense, one frozen class each. Each has exactly one topic (`contracts/topics.py`).

Bytes never travel in an event: a file is named by its location in the store, its size and its SHA-256.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue, StrictBool, StrictInt, model_validator

from muniment.contracts.manifest import MAX_FILES, TrainingFacts
from muniment.contracts.model import (
    BranchField,
    ByteCount,
    FilePathField,
    Line,
    ModelNameField,
    Number,
    Payload,
    Prose,
    PublicationIdField,
    Sha256Field,
    Timestamp,
    Verbatim,
    VersionIdField,
    Word,
)

Tags = Annotated[dict[Word, Word], Field(max_length=200)]
Name = Annotated[Word, Field(min_length=1)]
Stability = Literal["experimental", "candidate", "stable"]
CommitMode = Literal["auto", "manual"]
Authentication = Literal["token", "signature", "topic", "unsigned", "service"]
"""How the operator was established: API token, publisher key, a topic with one writer, not at all, or by a service."""


class ObjectLocation(Payload):
    """One version of one object in the store. Readers always name `version_id`."""

    bucket: Word
    key: Verbatim
    version_id: Verbatim


class DeclaredFile(Payload):
    """A file as a publisher names it: where it lies in a landing bucket, or nothing when its bytes are held already."""

    path: FilePathField
    sha256: Sha256Field
    size: ByteCount
    location: Verbatim | None = None
    version_id: Verbatim | None = None
    format: Word | None = None
    role: Word = "file"


class PublicationSettings(Payload):
    """How a publisher wants a publication treated."""

    branch: BranchField = "main"  # type: ignore[assignment]  # reason: Pydantic validates defaults of NewTypes lazily
    commit: CommitMode = "auto"
    track: Word | None = None
    description: Prose | None = None
    tags: Tags = {}
    reproduces: VersionIdField | None = None
    """The version whose training this run repeats; the registry compares the two at the commit."""


def _distinct_paths(files: tuple[Any, ...]) -> None:
    paths = [file.path for file in files]
    if len({path.casefold() for path in paths}) != len(paths):
        raise ValueError("file_path_repeated: two files have one path (case does not tell them apart)")


class TrainingCompleted(PublicationSettings):
    """A training run says that it is done, and where its files are. Published by training pipelines."""

    model: ModelNameField
    files: Annotated[tuple[DeclaredFile, ...], Field(min_length=1, max_length=MAX_FILES)]
    facts: TrainingFacts = TrainingFacts()
    operator: Word | None = None
    """Only compared with the authenticated one; a different value is refused, never believed."""

    @model_validator(mode="after")
    def _paths_are_distinct(self) -> TrainingCompleted:
        _distinct_paths(self.files)
        return self


class DeploymentReport(Payload):
    """What a deployer says of where a version or release runs.

    `at` is since when it is so; where it is left out, when the report was made. `operator` is only compared with the
    authenticated one; a different value is refused, never believed.
    """

    ref: Word
    environment: Name
    deployer: Name
    state: Literal["started", "running", "failed", "stopped"]
    at: Timestamp | None = None
    url: Line | None = None
    details: Prose | None = None
    operator: Word | None = None


class DeploymentReported(DeploymentReport):
    """A deployer says where a version or release runs. Published by deployers."""

    model: ModelNameField


class StagedFile(Payload):
    """A file whose bytes lie in the store under a version-id, not yet read by us."""

    path: FilePathField
    sha256: Sha256Field
    size: ByteCount
    location: ObjectLocation
    origin: Literal["upload", "landing", "held"]
    format: Word | None = None
    role: Word = "file"


class Publication(PublicationSettings):
    """What every event about a publication repeats, so that no service has to ask another."""

    publication_id: PublicationIdField
    model: ModelNameField
    operator: Word
    authenticated_by: Authentication
    facts: TrainingFacts


class ModelTrained(Publication):
    """ingest accepted a publication; its bytes are in the store and unread."""

    files: Annotated[tuple[StagedFile, ...], Field(min_length=1, max_length=MAX_FILES)]


class ValidatedFile(Payload):
    """A file whose every byte was read: size and SHA-256 are what was found at `location`."""

    path: FilePathField
    sha256: Sha256Field
    size: ByteCount
    format: Word
    role: Word = "file"
    location: ObjectLocation
    findings: Annotated[tuple[Line, ...], Field(max_length=20)] = ()


class ModelValidated(Publication):
    """checksum-validator re-read every byte and found what was declared."""

    files: Annotated[tuple[ValidatedFile, ...], Field(min_length=1, max_length=MAX_FILES)]


class ModelRejected(Payload):
    """A publication ended without a version. `expected` and `actual` are what was compared."""

    publication_id: PublicationIdField
    model: ModelNameField
    operator: Word
    stage: Literal["ingest", "validation", "commit"]
    code: Word
    message: Line
    expected: Line | None = None
    actual: Line | None = None
    file: Line | None = None
    hint: Line | None = None


class ValidationProgressed(Payload):
    """How far the validator is in a publication's bytes. Advisory: may be lost, never decides anything."""

    publication_id: PublicationIdField
    model: ModelNameField
    bytes_done: ByteCount
    bytes_total: ByteCount


class VersionFile(Payload):
    """A file of a committed version: locked bytes at `location`."""

    path: FilePathField
    sha256: Sha256Field
    size: ByteCount
    format: Word
    role: Word = "file"
    location: ObjectLocation


Direction = Literal["higher", "lower"]
"""Which way a metric is better: `higher` as for accuracy, `lower` as for a loss or a latency."""
MAX_BASELINE_METRICS: Final = 50


class VersionName(Payload):
    """A version as events name one that they are not about."""

    number: Annotated[StrictInt, Field(ge=1)]
    id: VersionIdField


class VersionAvailable(Payload):
    """A version is committed: its bytes are locked, its manifest written, its record immutable."""

    publication_id: PublicationIdField
    model: ModelNameField
    number: Annotated[StrictInt, Field(ge=1)]
    id: VersionIdField
    branch: BranchField
    previous: VersionIdField | None = None
    """The branch's head before this version."""
    stability: Stability
    track: Word
    operator: Word
    committed_at: Timestamp
    description: Prose | None = None
    tags: Tags = {}
    metrics: dict[Word, Number] = {}
    baseline: VersionName | None = None
    """The model's baseline when this version was committed."""
    baseline_metrics: Annotated[dict[Word, Number], Field(max_length=MAX_BASELINE_METRICS)] = {}
    """What the baseline has of this version's metrics. The difference is theirs minus these."""
    directions: Annotated[dict[Word, Direction], Field(max_length=MAX_BASELINE_METRICS)] = {}
    """Of these metrics, what the baseline's tolerances take for better."""
    manifest: ObjectLocation
    files: Annotated[tuple[VersionFile, ...], Field(min_length=1, max_length=MAX_FILES)]


class Change(Payload):
    """One changed field. Absent on one side means created or removed. Large values are given by their SHA-256."""

    path: Line
    before: JsonValue = None
    after: JsonValue = None


class RegistryChanged(Payload):
    """Something in the registry changed that no more special event tells."""

    kind: Literal[
        "candidate-added",
        "candidate-refused",
        "publication-matched",
        "branch-moved",
        "model-created",
        "branch-created",
        "branch-changed",
        "pointer-moved",
        "pointer-deleted",
        "contract-changed",
        "promotion-refused",
        "version-approved",
        "version-checked",
        "version-changed",
        "version-deleted",
        "version-evaluated",
        "version-reproduced",
        "deployment-reported",
        "track-changed",  # declared and never sent: a track is no model's; its change is an audit entry
    ]
    model: ModelNameField
    operator: Word
    publication_id: PublicationIdField | None = None
    version: VersionIdField | None = None
    number: StrictInt | None = None
    branch: BranchField | None = None
    pointer: BranchField | None = None
    reason: Line | None = None
    changes: Annotated[tuple[Change, ...], Field(max_length=100)] = ()


class Gate(Payload):
    """One condition of a promotion, and how it came out."""

    name: Word
    passed: StrictBool
    expected: Line | None = None
    actual: Line | None = None
    hint: Line | None = None


class BaselineChanged(Payload):
    """What production runs is another version from now on: `current` instead of `previous`."""

    model: ModelNameField
    operator: Word
    verb: Literal["promote", "rollback", "revert"]
    current: VersionName
    previous: VersionName | None = None
    reason: Line
    gates: Annotated[tuple[Gate, ...], Field(max_length=1000)] = ()
    changed_at: Timestamp


class BaselineDiverged(Payload):
    """A metric broke the baseline's tolerance, or came back within it (`recovered`).

    `first_version` and `first_at` tell since when: the first version, and the first measurement, that broke it.
    """

    model: ModelNameField
    metric: Word
    slice: Word | None = None
    dataset: Word | None = None
    recovered: StrictBool = False
    baseline: VersionName
    first_version: VersionName
    first_at: Timestamp
    expected: Line
    actual: Number
    operator: Word


class ReleasePublished(Payload):
    """A version was released: a copy of its own under a semantic version, which never moves."""

    model: ModelNameField
    operator: Word
    release: Word
    id: VersionIdField
    """Of the release's own manifest."""
    source: VersionName
    prerelease: StrictBool
    track: Word
    copy_kind: Literal["logical", "physical"]
    notes: Prose | None = None
    released_at: Timestamp
    manifest: ObjectLocation
    files: Annotated[tuple[VersionFile, ...], Field(min_length=1, max_length=MAX_FILES)]


class Cause(Payload):
    """What led to an operation: an event on a topic, a request, or a schedule."""

    kind: Literal["event", "request", "schedule"]
    id: Line
    topic: Word | None = None
    partition: StrictInt | None = None
    offset: StrictInt | None = None
    sha256: Sha256Field | None = None


class AuditRequested(Payload):
    """A service did (or refused) an operation and asks for its entry. Written in the operation's own transaction."""

    action: Word
    outcome: Literal["done", "refused"] = "done"
    service: Word
    operator: Word
    authenticated_by: Authentication
    model: Word | None = None
    resource: Line
    changes: Annotated[tuple[Change, ...], Field(max_length=100)] = ()
    reason: Line | None = None
    cause: Cause
    occurred_at: Timestamp


class AuditLogged(Payload):
    """One entry of the audit log as the topic mirrors it.

    `entry` is the leaf's JSON; its RFC 8785 text is the leaf's data. `leaf_hash` is RFC 6962's SHA-256(0x00 || data);
    `root_hash` is the tree's head at `tree_size` = `index` + 1.
    """

    index: Annotated[StrictInt, Field(ge=0)]
    leaf_hash: Sha256Field
    tree_size: Annotated[StrictInt, Field(ge=1)]
    root_hash: Sha256Field
    entry: dict[str, JsonValue]


class DeadLetter(Payload):
    """A record that no retry can help: what it was, where it lay, and why it was set aside.

    `value` holds the raw bytes (base64), cut at a limit; `value_sha256` and `value_size` are of the whole.
    """

    group: Word
    topic: Word
    partition: StrictInt
    offset: StrictInt
    key: str | None = None
    code: Word
    reason: Line
    value: str
    value_sha256: Sha256Field
    value_size: ByteCount
    truncated: StrictBool
    headers: Annotated[tuple[tuple[str, str], ...], Field(max_length=64)] = ()
    attempts: StrictInt
