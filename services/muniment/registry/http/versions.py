"""Routes of versions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from muniment.registry.http.parameters import At, Json, Reader
from muniment.registry.reads import Reads


def add_versions(router: APIRouter, reads: Reads) -> None:
    """A version, its manifest, its files. The routes with a further word stand before the one without."""

    @router.get("/resolve")
    async def resolve(_: Reader, ref: Annotated[str, Query(max_length=300)], at: At) -> Json:
        """The version that a reference names, or named at a moment."""
        return await reads.version(ref, at)

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
