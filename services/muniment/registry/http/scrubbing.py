"""Routes of the scrubber: how it stands, passes, and repair."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request

from muniment.contracts.ids import model_name
from muniment.registry.http.parameters import Admin, Json, Paged, Promoter, Reader
from muniment.registry.scrubbing.passes import NewRun, Passes
from muniment.registry.scrubbing.replacing import Replaced, Replacement, Replacing
from muniment.runtime.http.requests import body, cause_of


def add_scrubbing(router: APIRouter, passes: Passes, replacing: Replacing) -> None:
    """Status, damages, passes, repairs."""

    @router.get("/scrub")
    async def get_scrub(_: Reader) -> Json:
        """What is read again, how fast, how old the oldest reading is, and what is wrong."""
        return await passes.status()

    @router.get("/scrub/damages")
    async def list_damages(_: Reader, page: Paged, model: Annotated[str | None, Query(max_length=128)] = None) -> Json:
        """Damaged objects and the files that hold them."""
        return await passes.damaged(model, page)

    @router.post("/scrub/runs", status_code=202)
    async def run_scrub(request: Request, by: Admin, wanted: Annotated[NewRun, Depends(body(NewRun))]) -> Json:
        """Read everything (of a model) now. The answer comes at once; look at the run for its progress."""
        return await passes.start(wanted, by, cause_of(request))

    @router.get("/scrub/runs/{run}")
    async def get_scrub_run(_: Reader, run: Annotated[int, Path(ge=1, lt=2**63)]) -> Json:
        """How far a pass is."""
        return await passes.run(run)

    @router.post("/models/{model}/repairs")
    async def begin_repair(_: Promoter, model: str, wanted: Annotated[Replacement, Depends(body(Replacement))]) -> Json:
        """Where to put the good bytes of a damaged file. Changes nothing."""
        return await replacing.begin(model_name(model), wanted)

    @router.post("/models/{model}/repairs/complete")
    async def complete_repair(
        request: Request, by: Promoter, model: str, wanted: Annotated[Replaced, Depends(body(Replaced))]
    ) -> Json:
        """Read what was put, and move to it every file that has these bytes."""
        return await replacing.complete(model_name(model), wanted, by, cause_of(request))
