"""What ingest decides about a declared publication. Pure: declaration + facts -> event or refusal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from muniment.contracts.canonical import sha256_hex
from muniment.contracts.errors import Rejected, TooLarge
from muniment.contracts.events import (
    DeclaredFile,
    ModelRejected,
    ModelTrained,
    StagedFile,
    TrainingCompleted,
)
from muniment.contracts.identity import Author
from muniment.contracts.ids import PublicationId, Sha256, printable, publication_id_of
from muniment.contracts.strict_json import MAX_BYTES

MAX_TRAINED: Final = MAX_BYTES * 3 // 4
"""Bytes of a model-trained event at most: the events that repeat its files and facts must fit into a record as well."""
_STAGED_OVERHEAD: Final = 400
"""Bytes that a file takes more in an event than in its declaration: bucket, key and version-id."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a publication is refused, and the path of the file at fault where there is one."""

    error: Rejected
    file: str | None = None

    def named(self) -> Rejected:
        """The error with the file's path in its message, for those who are answered in words."""
        if self.file is None:
            return self.error
        error = self.error
        return type(error)(
            error.code,
            f"{self.file}: {error.message}",
            expected=error.expected,
            actual=error.actual,
            hint=error.hint,
        )


@dataclass(frozen=True, slots=True)
class Declaration:
    """A declared publication, with the text that is kept of it and whose digest tells it from another one.

    The text is JSON with sorted names and without defaults: it does not depend on spelling, and unlike RFC 8785 it
    reads back with every integer an integer and every float a float.
    """

    declared: TrainingCompleted
    text: bytes = field(repr=False)
    sha256: Sha256

    @classmethod
    def of(cls, declared: TrainingCompleted) -> Declaration:
        """The declaration with its text."""
        fields = declared.model_dump(mode="json", exclude_defaults=True)
        text = json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
        return cls(declared, text, sha256_hex(text))

    @classmethod
    def read(cls, text: bytes) -> Declaration:
        """The declaration that a kept text says."""
        return cls(TrainingCompleted.model_validate(json.loads(text)), text, sha256_hex(text))


def upload_publication_id(operator: str, key: str) -> PublicationId:
    """The publication of an operator's idempotency key: the same two, the same id.

    No event's source begins with a space (`cloudevent.decode` refuses it), so no event can take such an id.
    """
    return publication_id_of(f" http {operator}", key)


def check(declaration: Declaration) -> Refusal | None:
    """What is wrong with a declaration by itself, before anything is asked of the store."""
    return _check_event_size(declaration) or _check_files(declaration.declared.files)


def _check_event_size(declaration: Declaration) -> Refusal | None:
    files = declaration.declared.files
    bound = len(declaration.text) + _STAGED_OVERHEAD * len(files)
    if bound <= MAX_TRAINED:
        return None
    error = TooLarge(
        "publication_too_large",
        "the publication's files and facts do not fit into one event",
        expected=f"<= {MAX_TRAINED} B",
        actual=f"about {bound} B with {len(files)} files",
        hint="publish fewer files (pack small ones), or move long facts into a file of the model",
    )
    return Refusal(error)


def _check_files(files: Sequence[DeclaredFile]) -> Refusal | None:
    sizes: dict[str, int] = {}
    for file in files:
        if file.size == 0:
            error = Rejected("file_empty", "the file is empty", expected=">= 1 B", actual="0 B", hint="leave it out")
            return Refusal(error, file.path)
        if file.version_id is not None and file.location is None:
            error = Rejected(
                "version_id_without_location", "a version-id needs a location", actual=f"versionId={file.version_id}"
            )
            return Refusal(error, file.path)
        if sizes.setdefault(file.sha256, file.size) != file.size:
            error = Rejected(
                "size_contradiction",
                "one digest is declared with two sizes",
                expected=f"{sizes[file.sha256]} B",
                actual=f"{file.size} B",
            )
            return Refusal(error, file.path)
    return None


def check_size(declared: int, stored: int, what: str) -> None:
    """Raise `Rejected` (`size_mismatch`) where the store holds another number of bytes than declared."""
    if declared != stored:
        raise Rejected(
            "size_mismatch",
            f"{what} has another size than declared",
            expected=f"{declared} B",
            actual=f"{stored} B",
            hint="declare the size of the very file that was uploaded",
        )


def trained(
    publication_id: PublicationId, declared: TrainingCompleted, author: Author, files: Sequence[StagedFile]
) -> ModelTrained:
    """The event of an accepted publication."""
    return ModelTrained(
        publication_id=publication_id,
        model=declared.model,
        branch=declared.branch,
        commit=declared.commit,
        track=declared.track,
        description=declared.description,
        tags=declared.tags,
        reproduces=declared.reproduces,
        operator=author.operator,
        authenticated_by=author.authenticated_by,
        facts=declared.facts,
        files=tuple(files),
    )


def rejected(
    publication_id: PublicationId, declared: TrainingCompleted, author: Author, refusal: Refusal
) -> ModelRejected:
    """The event of a refused publication."""
    error = refusal.error
    return ModelRejected(
        publication_id=publication_id,
        model=declared.model,
        operator=author.operator,
        stage="ingest",
        code=error.code,
        message=printable(error.message),
        expected=None if error.expected is None else printable(error.expected),
        actual=None if error.actual is None else printable(error.actual),
        file=None if refusal.file is None else printable(refusal.file),
        hint=None if error.hint is None else printable(error.hint),
    )
