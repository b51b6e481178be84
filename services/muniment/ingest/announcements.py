"""What a transaction says of a publication: its event, and its audit entry. One entry for each operation, always."""

from __future__ import annotations

from muniment.contracts.errors import Rejected
from muniment.contracts.events import Cause, Change, ModelRejected, ModelTrained
from muniment.contracts.identity import Author
from muniment.contracts.ids import printable
from muniment.runtime.delivery.transaction import Tx


def resource_of(publication_id: str) -> str:
    """A publication's name in audit entries."""
    return f"publications/{publication_id}"


def accepted(tx: Tx, event: ModelTrained, author: Author, cause: Cause, *, digest: str, before: str | None) -> None:
    """The publication is trained. `author` is who did it, `before` its stage until now, `digest` its declaration's."""
    cause_event = cause.id if cause.kind == "event" else None
    tx.emit(
        event,
        model=event.model,
        correlation=event.publication_id,
        identity=(event.publication_id,),
        cause=cause_event,
    )
    tx.audit(
        action="publication.accepted",
        resource=resource_of(event.publication_id),
        operator=author.operator,
        authenticated_by=author.authenticated_by,
        model=event.model,
        correlation=event.publication_id,
        cause=cause,
        changes=(
            Change(path="stage", before=before, after="trained"),
            Change(path="declaration", after=f"sha256:{digest}"),
        ),
    )


def refused(tx: Tx, event: ModelRejected, author: Author, cause: Cause, *, digest: str) -> None:
    """The publication is rejected before anything was read."""
    tx.emit(
        event,
        model=event.model,
        correlation=event.publication_id,
        identity=(event.publication_id, event.stage),
        cause=cause.id,
    )
    compared = (("expected", event.expected), ("actual", event.actual))
    tx.audit(
        action="publication.refused",
        resource=resource_of(event.publication_id),
        operator=author.operator,
        authenticated_by=author.authenticated_by,
        model=event.model,
        correlation=event.publication_id,
        cause=cause,
        refused=True,
        reason=printable(f"{event.code}: {event.message}" + (f" ({event.file})" if event.file else "")),
        changes=(
            Change(path="stage", after="rejected"),
            Change(path="declaration", after=f"sha256:{digest}"),
            *(Change(path=name, after=value) for name, value in compared if value),
        ),
    )


def abandoned(tx: Tx, publication_id: str, model: str, author: Author, cause: Cause) -> None:
    """The upload was given up."""
    tx.audit(
        action="publication.abandoned",
        resource=resource_of(publication_id),
        operator=author.operator,
        authenticated_by=author.authenticated_by,
        model=model,
        correlation=publication_id,
        cause=cause,
        changes=(Change(path="stage", before="uploading", after="abandoned"),),
    )


def declined(tx: Tx, error: Rejected, author: Author, cause: Cause, *, publication_id: str | None) -> None:
    """A request was refused, and changed nothing. `publication_id` is what it named; it need not be one."""
    compared = (("expected", error.expected), ("actual", error.actual))
    tx.audit(
        action="publication.refused",
        resource="publications" if publication_id is None else printable(resource_of(publication_id)),
        operator=author.operator,
        authenticated_by=author.authenticated_by,
        cause=cause,
        refused=True,
        reason=printable(f"{error.code}: {error.message}"),
        changes=tuple(Change(path=name, after=printable(value)) for name, value in compared if value),
    )
