"""Routes of versions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from muniment.registry.http.parameters import At, Json, Reader
from muniment.registry.reads import Reads
from muniment.registry.scrubbing.forcing import ForcedDownloads
from muniment.runtime.http.requests import cause_of


def add_versions(router: APIRouter, reads: Reads, forced: ForcedDownloads) -> None:
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
    async def get_downloads(
        request: Request,
        by: Reader,
        ref: str,
        force: Annotated[bool, Query(description="hand out a damaged version, too: admins alone, audited")] = False,
    ) -> Json:
        """Presigned URLs for every file, by version-id. 409 (`version_damaged`) where bytes are damaged."""
        if force:
            return await forced.downloads(ref, by, cause_of(request))
        return await reads.downloads(ref)

    @router.get("/versions/{ref:path}")
    async def get_version(_: Reader, ref: str) -> Json:
        """A version with its manifest, files and parents."""
        return await reads.version(ref)
