"""Routes of models and their lists."""

from __future__ import annotations

from fastapi import APIRouter

from muniment.contracts.ids import branch_name, model_name
from muniment.registry.http.parameters import At, Json, Paged, Reader
from muniment.registry.reads import Reads


def add_models(router: APIRouter, reads: Reads) -> None:
    """Models, versions, logs."""

    @router.get("/models")
    async def list_models(_: Reader, page: Paged) -> Json:
        """Models by name."""
        return await reads.models(page)

    @router.get("/models/{model}")
    async def get_model(_: Reader, model: str) -> Json:
        """One model and its branches."""
        return await reads.model(model)

    @router.get("/models/{model}/versions")
    async def list_versions(_: Reader, model: str, page: Paged, at: At, branch: str | None = None) -> Json:
        """A model's versions, newest first; with `branch` those that were published on it."""
        return await reads.versions(model, branch_name(branch) if branch is not None else None, page, at)

    @router.get("/models/{model}/log")
    async def get_log(_: Reader, model: str, page: Paged, at: At, ref: str | None = None) -> Json:
        """The line of versions that leads to a reference (by default the head of main), newest first."""
        return await reads.log(ref or f"{model_name(model)}@main", page, at)
