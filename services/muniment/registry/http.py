"""The registry's HTTP API: reads, candidates, presigned downloads."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from muniment.contracts.identity import Principal
from muniment.contracts.ids import branch_name, model_name, publication_id
from muniment.registry.candidates import Candidates, Decision, Refusal
from muniment.registry.reads import Reads
from muniment.runtime.http.auth import role
from muniment.runtime.http.pages import Page, page_of
from muniment.runtime.http.requests import body, cause_of

Reader = Annotated[Principal, Depends(role("reader"))]
Writer = Annotated[Principal, Depends(role("writer"))]
Paged = Annotated[Page, Depends(page_of)]
Json = dict[str, Any]


def build_router(reads: Reads, candidates: Candidates) -> APIRouter:
    """The routes, below `/api/v1`."""
    router = APIRouter(tags=["registry"])
    _add_models(router, reads)
    _add_versions(router, reads)
    _add_candidates(router, reads, candidates)
    return router


def _add_models(router: APIRouter, reads: Reads) -> None:
    @router.get("/models")
    async def list_models(_: Reader, page: Paged) -> Json:
        """Models by name."""
        return await reads.models(page)

    @router.get("/models/{model}")
    async def get_model(_: Reader, model: str) -> Json:
        """One model and its branches."""
        return await reads.model(model)

    @router.get("/models/{model}/branches")
    async def list_branches(_: Reader, model: str, page: Paged) -> Json:
        """A model's branches by name."""
        return await reads.branches(model, page)

    @router.get("/models/{model}/versions")
    async def list_versions(_: Reader, model: str, page: Paged, branch: str | None = None) -> Json:
        """A model's versions, newest first; with `branch` those that were published on it."""
        return await reads.versions(model, branch_name(branch) if branch is not None else None, page)

    @router.get("/models/{model}/log")
    async def get_log(_: Reader, model: str, page: Paged, ref: str | None = None) -> Json:
        """The line of versions that leads to a reference (by default the head of main), newest first."""
        return await reads.log(ref or f"{model_name(model)}@main", page)


def _add_versions(router: APIRouter, reads: Reads) -> None:
    @router.get("/resolve")
    async def resolve(_: Reader, ref: Annotated[str, Query(max_length=300)]) -> Json:
        """The version that a reference names."""
        return await reads.version(ref)

    @router.get("/versions/{ref:path}/manifest")
    async def get_manifest(_: Reader, ref: str) -> Response:
        """The canonical manifest; its SHA-256 is the version's id."""
        return Response(await reads.manifest(ref), media_type="application/json")

    @router.get("/versions/{ref:path}/files")
    async def get_downloads(_: Reader, ref: str) -> Json:
        """Presigned URLs for every file, by version-id."""
        return await reads.downloads(ref)

    @router.get("/versions/{ref:path}")
    async def get_version(_: Reader, ref: str) -> Json:
        """A version with its manifest, files and parents."""
        return await reads.version(ref)


def _add_candidates(router: APIRouter, reads: Reads, candidates: Candidates) -> None:
    @router.get("/candidates")
    async def list_candidates(
        _: Reader,
        page: Paged,
        model: str | None = None,
        state: Literal["waiting", "committed", "refused", "any"] = "waiting",
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
