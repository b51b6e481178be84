"""The verdict on a publication, and the event and audit entry that tell it."""

from __future__ import annotations

from dataclasses import dataclass

from muniment.checksum_validator.store import Job
from muniment.contracts.errors import Rejected
from muniment.contracts.events import (
    Cause,
    Change,
    ModelRejected,
    ModelTrained,
    ModelValidated,
    ValidatedFile,
    ValidationProgressed,
)
from muniment.contracts.ids import printable
from muniment.runtime.delivery.transaction import Tx


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a publication's validation ended: all its files validated, or the first error."""

    trained: ModelTrained
    cause: Cause
    files: tuple[ValidatedFile, ...] = ()
    error: Rejected | None = None

    @property
    def word(self) -> str:
        """`passed`, or the error's code."""
        return self.error.code if self.error else "passed"


def announce(tx: Tx, verdict: Verdict) -> None:
    """Send the verdict's event and ask for its entry."""
    trained, cause = verdict.trained, verdict.cause
    error = verdict.error
    if error is None:
        fields = trained.model_dump(exclude={"files"})
        tx.emit(
            ModelValidated.model_validate({**fields, "files": verdict.files}),
            model=trained.model,
            correlation=trained.publication_id,
            identity=("validated", trained.publication_id),
            cause=cause.id,
        )
    else:
        tx.emit(
            ModelRejected(
                publication_id=trained.publication_id,
                model=trained.model,
                operator=trained.operator,
                stage="validation",
                code=error.code,
                message=printable(error.message),
                expected=_printable(error.expected),
                actual=_printable(error.actual),
                hint=_printable(error.hint),
            ),
            model=trained.model,
            correlation=trained.publication_id,
            identity=("validation", trained.publication_id),
            cause=cause.id,
        )
    tx.audit(
        action="validation.rejected" if error else "validation.passed",
        resource=f"publications/{trained.publication_id}",
        model=trained.model,
        operator=trained.operator,
        authenticated_by=trained.authenticated_by,
        cause=cause,
        changes=_changes(verdict),
        refused=error is not None,
        reason=printable(f"{error.code}: {error}") if error else None,
        correlation=trained.publication_id,
    )


def announce_progress(tx: Tx, job: Job, bytes_done: int) -> None:
    """Tell how far the reading is."""
    tx.emit(
        ValidationProgressed(
            publication_id=job.trained.publication_id,
            model=job.trained.model,
            bytes_done=bytes_done,
            bytes_total=job.size,
        ),
        model=job.trained.model,
        correlation=job.trained.publication_id,
        identity=("progress", job.trained.publication_id, str(job.epoch), str(bytes_done), tx.now.isoformat()),
        cause=job.cause.id,
    )


def _printable(text: str | None) -> str | None:
    return None if text is None else printable(text)


def _changes(verdict: Verdict) -> list[Change]:
    if verdict.error is not None:
        return [Change(path="digest", before=verdict.error.expected, after=verdict.error.actual)]
    if len(verdict.files) > 20:
        return [Change(path="files", after=len(verdict.files))]
    return [Change(path=f"files/{file.path}", after=f"sha256:{file.sha256}") for file in verdict.files]
