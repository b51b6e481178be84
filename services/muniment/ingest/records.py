"""What ingest keeps: publications, and the uploads they wait for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from muniment.contracts.events import StagedFile
from muniment.contracts.identity import Author
from muniment.contracts.ids import PublicationId, Sha256
from muniment.contracts.model import rfc3339
from muniment.ingest.domain import Declaration
from muniment.ingest.stages import Stage


@dataclass(frozen=True, slots=True)
class NewPublication:
    """A publication to be recorded. `cause` is the id of the event or request that brought it."""

    id: PublicationId
    declaration: Declaration
    author: Author
    stage: Stage
    cause: str
    files: tuple[StagedFile, ...] = ()
    rejection: dict[str, Any] | None = None
    event_source: str | None = None
    event_id: str | None = None
    idempotency_key: str | None = None

    def recorded(self, now: datetime) -> Publication:
        """The publication as it is once recorded."""
        declared = self.declaration.declared
        return Publication(
            id=self.id,
            model=declared.model,
            branch=declared.branch,
            commit_mode=declared.commit,
            track=declared.track,
            stage=self.stage,
            author=self.author,
            history=[{"stage": self.stage, "at": rfc3339(now), "cause": self.cause}],
            rejection=self.rejection,
            created_at=now,
            updated_at=now,
        )


@dataclass(frozen=True, slots=True)
class Publication:
    """A recorded publication. `history` has one object for each stage reached: stage, at, cause."""

    id: PublicationId
    model: str
    branch: str
    commit_mode: str
    track: str | None
    stage: Stage
    author: Author
    history: list[dict[str, Any]]
    created_at: datetime
    updated_at: datetime
    version: dict[str, Any] | None = None
    rejection: dict[str, Any] | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """An object that a publisher is to upload. `version_id`: the store has it all."""

    publication_id: PublicationId
    sha256: Sha256
    size: int
    bucket: str
    key: str
    part_size: int | None
    upload_id: str | None = None
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A publication with what its publisher declared, the files pinned so far, and the uploads still open."""

    publication: Publication
    declaration: Declaration
    files: tuple[StagedFile, ...]
    uploads: tuple[Upload, ...]
