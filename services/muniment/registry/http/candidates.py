"""Routes of candidates."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from muniment.contracts.ids import publication_id
from muniment.registry.candidate_states import Asked
from muniment.registry.candidates import Candidates, Decision, Refusal
from muniment.registry.http.parameters import Json, Paged, Reader, Writer
from muniment.registry.reads import Reads
from muniment.runtime.http.requests import body, cause_of


def add_candidates(router: APIRouter, reads: Reads, candidates: Candidates) -> None:
    """Lists and decides."""

    @router.get("/candidates")
    async def list_candidates(
        _: Reader,
        page: Paged,
        model: str | None = None,
        state: Asked = "waiting",
    ) -> Json:
        """Candidates, newest first; those that wait unless asked otherwise."""
        return await reads.candidates(None if state == "any" else state, model, page)

    @router.post("/candidates/{publication}/commit")
    async def commit_candidate(
        request: Request, by: Writer, publication: str, decision: Annotated[Decision, Depends(body(Decision))]
    ) -> Json:
        """Make a candidate a version."""
        made = await candidates.commit(publication_id(publication), decision, by, cause_of(request))
        return await reads.version_by_id(made)

    @router.post("/candidates/{publication}/refuse", status_code=204)
    async def refuse_candidate(
        request: Request, by: Writer, publication: str, refusal: Annotated[Refusal, Depends(body(Refusal))]
    ) -> Response:
        """End a candidate without a version."""
        await candidates.refuse(publication_id(publication), refusal.reason, by, cause_of(request))
        return Response(status_code=204)
