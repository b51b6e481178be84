"""Routes that compare versions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import StringConstraints

from muniment.registry.comparing.comparisons import Comparisons
from muniment.registry.http.parameters import Json, Reader

Ref = Annotated[str, StringConstraints(max_length=300)]


def add_comparing(router: APIRouter, comparisons: Comparisons) -> None:
    """Two to six versions by their manifests; two by their tensors, too."""

    @router.get("/compare")
    async def compare(_: Reader, ref: Annotated[list[Ref], Query()] = [], only_changed: bool = True) -> Json:  # noqa: B006  # reason: FastAPI copies it
        """Manifests side by side, section by section; the first version is what the others are compared with."""
        return await comparisons.compare(ref, only_changed=only_changed)

    @router.get("/diff")
    async def diff(
        _: Reader,
        before: Annotated[Ref, Query(alias="from")],
        to: Ref,
        tensors: bool = True,
        only_changed: bool = True,
    ) -> Json:
        """What changed from one version to another: their manifests, and their safetensors files by tensor."""
        return await comparisons.diff(before, to, tensors=tensors, only_changed=only_changed)
