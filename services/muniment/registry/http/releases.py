"""Routes of releases and tracks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from muniment.contracts.ids import model_name
from muniment.registry.http.parameters import Admin, Json, Paged, Promoter, Reader
from muniment.registry.release_reads import ReleaseReads
from muniment.registry.release_records import NewRelease
from muniment.registry.releases import Releases
from muniment.registry.track_changes import TrackChanges
from muniment.registry.track_rules import TrackChange
from muniment.runtime.http.requests import body, cause_of


def add_releases(router: APIRouter, reads: ReleaseReads, releases: Releases) -> None:
    """Publishes, lists and shows."""

    @router.post("/models/{model}/releases")
    async def publish_release(
        request: Request, by: Promoter, model: str, wanted: Annotated[NewRelease, Depends(body(NewRelease))]
    ) -> Json:
        """Release a version under a semantic version. Doing it again answers the same release."""
        made = await releases.publish(model_name(model), wanted, by, cause_of(request))
        return await reads.show(model, made)

    @router.get("/models/{model}/releases")
    async def list_releases(_: Reader, model: str, page: Paged) -> Json:
        """A model's releases, highest first."""
        return await reads.list(model, page)

    @router.get("/models/{model}/releases/{semver}")
    async def get_release(_: Reader, model: str, semver: str) -> Json:
        """One release with its manifest and files."""
        return await reads.show(model, semver)


def add_tracks(router: APIRouter, tracks: TrackChanges) -> None:
    """Lists, shows and changes."""

    @router.get("/tracks")
    async def list_tracks(_: Reader, page: Paged) -> Json:
        """Tracks by name."""
        return await tracks.list(page)

    @router.get("/tracks/{name}")
    async def get_track(_: Reader, name: str) -> Json:
        """One track."""
        return await tracks.show(name)

    @router.put("/tracks/{name}")
    async def put_track(
        request: Request, by: Admin, name: str, change: Annotated[TrackChange, Depends(body(TrackChange))]
    ) -> Json:
        """Make a track, or change one; what is left out stays."""
        return await tracks.put(name, change, by, cause_of(request))
