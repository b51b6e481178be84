"""The HTTP way in: a publication is begun, its bytes go straight to the store, and it is completed or abandoned."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from muniment.contracts.errors import Conflict, Forbidden, NotFound, Rejected
from muniment.contracts.events import Cause, ObjectLocation, TrainingCompleted
from muniment.contracts.identity import Author, Principal, check_operator
from muniment.contracts.ids import PublicationId, Sha256
from muniment.ingest import announcements, domain, slots
from muniment.ingest.domain import Declaration, Refusal
from muniment.ingest.files import FileFinder
from muniment.ingest.records import Draft, NewPublication, Publication, Upload
from muniment.ingest.store import Store
from muniment.ingest.transfers import Arrival, Transfers
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.settings import IngestSettings

_TRANSFERS_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Begun:
    """A publication and where its files go. `created` is False if an earlier request with the same key made it."""

    publication: Publication
    files: list[dict[str, Any]]
    created: bool


@dataclass(frozen=True, slots=True)
class Uploads:
    """Begins, completes and abandons publications whose bytes are uploaded to `bucket`."""

    store: Store
    transactions: Transactions
    files: FileFinder
    transfers: Transfers
    settings: IngestSettings
    bucket: str
    _at_once: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_TRANSFERS_AT_ONCE))

    async def begin(self, declared: TrainingCompleted, author: Author, cause: Cause, key: str | None) -> Begun:
        """Record a publication and hand out its slots. The same key, operator and body give the same one again.

        Raises `Conflict` (`idempotency_key_reused`), and `Rejected` for whatever is wrong with the declaration.
        """
        check_operator(declared.operator, author)
        declaration = Declaration.of(declared)
        publication_id = PublicationId(str(uuid.uuid4()))
        if key is not None:
            publication_id = domain.upload_publication_id(author.operator, key)
            if (known := await self.store.draft(publication_id)) is not None:
                return await self._again(known, declaration)
        found = domain.check(declaration) or await self.files.pin(declared.files)
        if isinstance(found, Refusal):
            raise found.named()
        new = NewPublication(
            publication_id, declaration, author, "uploading", cause.id, found.files, idempotency_key=key
        )
        planned = slots.plan(
            found.missing, single_put_max=self.settings.single_put_max, part_size=self.settings.part_size
        )
        uploads = tuple(
            Upload(publication_id, one.sha256, one.size, self.bucket, one.key, one.part_size) for one in planned
        )
        async with self.transactions.begin() as tx:
            created = bool(await self.store.insert(tx.connection, [new], tx.now))
            if created and uploads:
                await self.store.insert_uploads(tx.connection, uploads)
        if not created:  # another request with the same key was faster
            return await self._again(await self._draft(publication_id), declaration)
        draft = Draft(new.recorded(tx.now), declaration, found.files, uploads)
        return Begun(draft.publication, await self._slots(draft), created=True)

    async def slots(self, publication_id: str, principal: Principal) -> list[dict[str, Any]]:
        """The publication's files with fresh URLs for what is not in the store yet."""
        return await self._slots(await self._own(publication_id, principal))

    async def complete(
        self, publication_id: str, said: Mapping[str, Arrival], principal: Principal, cause: Cause
    ) -> Publication:
        """Pin what was uploaded and let the publication go its way. Again: the publication as it is by now.

        `said` tells by path what the publisher knows of its uploads. Raises `Conflict` (`upload_missing`,
        `publication_closed`), `Rejected` (`size_mismatch`, `parts_invalid`, `file_unknown`).
        """
        draft = await self._own(publication_id, principal)
        if draft.publication.stage != "uploading":
            return _completed(draft.publication)
        declared = draft.declaration.declared
        located = await self._arrivals(draft, said)
        files = slots.staged_uploads(declared.files, draft.files, located)
        event = domain.trained(draft.publication.id, declared, draft.publication.author, files)
        async with self.transactions.begin() as tx:
            accepted = await self.store.accept_upload(tx.connection, publication_id, files, cause.id, tx.now)
            if accepted:
                author = Author(principal.operator, principal.authenticated_by)
                announcements.accepted(
                    tx, event, author, cause, digest=draft.declaration.sha256, before=draft.publication.stage
                )
        if accepted:
            return replace(draft.publication, stage="trained", updated_at=tx.now)
        return _completed((await self._draft(publication_id)).publication)

    async def abandon(self, publication_id: str, principal: Principal, cause: Cause) -> None:
        """Give an upload up; again: nothing. Raises `Conflict` (`publication_complete`) once it is complete."""
        draft = await self._own(publication_id, principal)
        author = Author(principal.operator, principal.authenticated_by)
        async with self.transactions.begin() as tx:
            abandoned = await self.store.abandon(tx.connection, [publication_id], cause.id, tx.now)
            for model in abandoned.values():
                announcements.abandoned(tx, publication_id, model, author, cause)
        if not abandoned and (now := await self._draft(publication_id)).publication.stage != "abandoned":
            raise Conflict(
                "publication_complete",
                "the publication's upload is complete; it cannot be abandoned any more",
                expected="uploading",
                actual=now.publication.stage,
            )
        for upload in draft.uploads:
            await self.transfers.free(upload)

    async def _again(self, known: Draft, declaration: Declaration) -> Begun:
        if known.declaration.sha256 != declaration.sha256:
            raise Conflict(
                "idempotency_key_reused",
                "this Idempotency-Key was used before with another body",
                expected=f"a declaration with sha256 {known.declaration.sha256}",
                actual=declaration.sha256,
                hint="use a new key for each publication",
            )
        return Begun(known.publication, await self._slots(known), created=False)

    async def _slots(self, draft: Draft) -> list[dict[str, Any]]:
        """What is to be done for each file. Of files with one digest the first has the slot, for all of them."""

        async def slot(upload: Upload) -> dict[str, Any] | None:
            async with self._at_once:
                return await self.transfers.slot(upload)

        open_uploads = draft.uploads if draft.publication.stage == "uploading" else ()
        made = await asyncio.gather(*(slot(upload) for upload in open_uploads))
        todo = {upload.sha256: one for upload, one in zip(open_uploads, made, strict=True) if one is not None}
        files = []
        for file in draft.declaration.declared.files:
            upload = todo.pop(file.sha256, None) if file.location is None else None
            files.append(
                {
                    "path": file.path,
                    "sha256": file.sha256,
                    "size": file.size,
                    "held": upload is None,
                    "upload": upload,
                }
            )
        return files

    async def _arrivals(self, draft: Draft, said: Mapping[str, Arrival]) -> dict[Sha256, ObjectLocation]:
        """Where each upload lies, by digest."""
        files = draft.declaration.declared.files
        if unknown := sorted(set(said) - {file.path for file in files}):
            raise Rejected("file_unknown", "the publication has no such file", actual=unknown[0])
        paths: dict[Sha256, str] = {}
        for file in files:
            if file.path in said or file.sha256 not in paths:
                paths[file.sha256] = file.path

        async def arrived(upload: Upload) -> tuple[Sha256, ObjectLocation]:
            path = paths[upload.sha256]
            async with self._at_once:
                return upload.sha256, await self.transfers.arrived(upload, path, said.get(path, Arrival()))

        return dict(await asyncio.gather(*(arrived(upload) for upload in draft.uploads)))

    async def _draft(self, publication_id: str) -> Draft:
        draft = await self.store.draft(publication_id)
        if draft is None:
            raise NotFound("publication_not_found", "there is no such publication", actual=publication_id)
        return draft

    async def _own(self, publication_id: str, principal: Principal) -> Draft:
        """The publication, if the principal began it or is an admin."""
        draft = await self._draft(publication_id)
        owner = draft.publication.author.operator
        if principal.operator != owner and not principal.has("admin"):
            raise Forbidden(
                "publication_of_another",
                "only the operator who began a publication can go on with it",
                expected=owner,
                actual=principal.operator,
            )
        return draft


def _completed(publication: Publication) -> Publication:
    """A publication that is completed once more. Raises `Conflict` (`publication_closed`) if it was abandoned."""
    if publication.stage == "abandoned":
        raise Conflict(
            "publication_closed",
            "the publication was abandoned",
            expected="uploading",
            actual="abandoned",
            hint="begin a new one with another Idempotency-Key",
        )
    return publication
