"""Ingest's routes."""

# No `from __future__ import annotations`: FastAPI reads the annotations, and some name what is local to `router`.

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field, StrictInt

from muniment.contracts import ids
from muniment.contracts.errors import Forbidden, NotFound
from muniment.contracts.events import TrainingCompleted
from muniment.contracts.identity import Author, Principal
from muniment.contracts.manifest import MAX_FILES
from muniment.contracts.model import FilePathField, Payload, Word, rfc3339
from muniment.ingest.intake import Intake
from muniment.ingest.records import Publication
from muniment.ingest.refusals import AuditedBody, Refusals, Writer
from muniment.ingest.slots import MAX_PARTS
from muniment.ingest.stages import Stage
from muniment.ingest.store import Store
from muniment.ingest.sweeping import Sweep, Sweeping
from muniment.ingest.transfers import Arrival
from muniment.ingest.uploads import Uploads
from muniment.ingest.waiting import Waiters, settled
from muniment.ports.blobs import Part
from muniment.runtime.http.auth import role
from muniment.runtime.http.pages import Page, page_of
from muniment.runtime.http.requests import body, cause_of, idempotency_key
from muniment.runtime.http.routes import Routes

LONGEST_WAIT_S = 60.0

Reader = Annotated[Principal, Depends(role("reader"))]


class UploadedPart(Payload):
    """A part that was put: its number, and the ETag that the store answered."""

    number: Annotated[StrictInt, Field(ge=1, le=MAX_PARTS)]
    etag: Word


class UploadedFile(Payload):
    """What a publisher knows of one upload. What is left out is looked up in the store."""

    path: FilePathField
    version_id: Word | None = None
    parts: Annotated[tuple[UploadedPart, ...], Field(max_length=MAX_PARTS)] = ()


class UploadCompleted(Payload):
    """All bytes are in the store."""

    files: Annotated[tuple[UploadedFile, ...], Field(max_length=MAX_FILES)] = ()


def router(store: Store, uploads: Uploads, waiters: Waiters, intake: Intake, refusals: Refusals) -> APIRouter:
    """The routes under `/publications`."""
    routes = Routes(prefix="/publications", tags=["ingest"])

    @routes.post("", status_code=201, dependencies=[Depends(intake.begin)])
    async def begin_publication(
        principal: Writer,
        declared: Annotated[TrainingCompleted, Depends(AuditedBody(TrainingCompleted, refusals))],
        request: Request,
        response: Response,
    ) -> dict[str, Any]:
        """Begin a publication: 201 and its upload slots, or 200 if the same `Idempotency-Key` has begun it before."""
        async with refusals.audited(request, principal) as cause:
            begun = await uploads.begin(declared, _author(principal), cause, await idempotency_key(request))
        response.status_code = 201 if begun.created else 200
        return {"publication": _shown(begun.publication), "files": begun.files}

    @routes.get("/{publication_id}/slots")
    async def publication_slots(principal: Writer, publication_id: str, request: Request) -> dict[str, Any]:
        """Fresh URLs for what is not in the store yet; parts that are there are marked done."""
        async with refusals.audited(request, principal, only=Forbidden):
            return {"files": await uploads.slots(ids.publication_id(publication_id), principal)}

    @routes.post("/{publication_id}/complete", status_code=202, dependencies=[Depends(intake.complete)])
    async def complete_publication(
        principal: Writer,
        publication_id: str,
        completed: Annotated[UploadCompleted, Depends(AuditedBody(UploadCompleted, refusals))],
        request: Request,
    ) -> dict[str, Any]:
        """All bytes are in the store: pin them, and let the validator read them. May be repeated."""
        async with refusals.audited(request, principal) as cause:
            said = {file.path: _arrival(file) for file in completed.files}
            publication = await uploads.complete(ids.publication_id(publication_id), said, principal, cause)
        return {"publication": _shown(publication)}

    @routes.get("/{publication_id}")
    async def publication(
        _: Reader, publication_id: str, wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT_S)] = 0
    ) -> dict[str, Any]:
        """A publication; with `wait` (seconds) once nothing more happens to it by itself, or time is up."""
        found = await settled(store, waiters, ids.publication_id(publication_id), wait_s=wait)
        if found is None:
            raise NotFound("publication_not_found", "there is no such publication", actual=publication_id)
        return _shown(found)

    @routes.get("")
    async def publications(
        _: Reader,
        page: Annotated[Page, Depends(page_of)],
        model: Annotated[str | None, Query(max_length=128)] = None,
        stage: Stage | None = None,
    ) -> dict[str, Any]:
        """Publications, newest first."""
        after = page.after(int)
        named = None if model is None else ids.model_name(model)
        rows = await store.page(model=named, stage=stage, before=after[0] if after else None, limit=page.fetch)
        return page.answer(rows, item=lambda row: _shown(row[1]), key=lambda row: (row[0],))

    @routes.delete("/{publication_id}", status_code=204)
    async def abandon_publication(principal: Writer, publication_id: str, request: Request) -> None:
        """Give an upload up."""
        async with refusals.audited(request, principal) as cause:
            await uploads.abandon(ids.publication_id(publication_id), principal, cause)

    return routes


def sweep_router(sweeping: Sweeping) -> APIRouter:
    """The route of the sweep."""
    routes = Routes(tags=["ingest"])

    @routes.post("/sweep")
    async def sweep_leftovers(
        principal: Annotated[Principal, Depends(role("admin"))],
        page: Annotated[Page, Depends(page_of)],
        wanted: Annotated[Sweep, Depends(body(Sweep))],
        request: Request,
    ) -> dict[str, Any]:
        """Free what of one page of the bucket no publication and no version needs, or tell what that would be."""
        return await sweeping.sweep(wanted, page, principal, cause_of(request))

    return routes


def _author(principal: Principal) -> Author:
    return Author(principal.operator, principal.authenticated_by)


def _arrival(file: UploadedFile) -> Arrival:
    # ETags are compared without the quotes that HTTP puts around them.
    return Arrival(file.version_id, tuple(Part(part.number, part.etag.strip('"')) for part in file.parts))


def _shown(publication: Publication) -> dict[str, Any]:
    done, total = publication.bytes_done, publication.bytes_total
    return {
        "id": publication.id,
        "model": publication.model,
        "branch": publication.branch,
        "commit": publication.commit_mode,
        "track": publication.track,
        "stage": publication.stage,
        "operator": publication.author.operator,
        "authenticated_by": publication.author.authenticated_by,
        "created_at": rfc3339(publication.created_at),
        "updated_at": rfc3339(publication.updated_at),
        "version": publication.version,
        "rejection": publication.rejection,
        "progress": None if total is None else {"bytes_done": done, "bytes_total": total},
        "history": [{**one, "at": rfc3339(datetime.fromisoformat(one["at"]))} for one in publication.history],
    }
