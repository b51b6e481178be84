"""Routes of lineage, deployments, deletion and collection."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request

from muniment.contracts.events import DeploymentReport
from muniment.contracts.ids import model_name
from muniment.registry.collecting import Collecting, Collection
from muniment.registry.deleting import Deleting, Deletion
from muniment.registry.deployments import Deployments
from muniment.registry.http.parameters import Admin, At, Json, Paged, Promoter, Reader, Writer
from muniment.registry.lineage.openlineage import RunEvent, run_event
from muniment.registry.lineage.reading import MAX_DEPTH, MAX_NODES, Lineage, Question
from muniment.registry.lineage.receiving import Receiving
from muniment.registry.reads import Reads
from muniment.registry.references import find_version
from muniment.registry.sweeping import Sweep, Sweeping
from muniment.runtime.http.requests import body, cause_of

Text = Annotated[str | None, Query(max_length=600)]


def add_lineage(router: APIRouter, lineage: Lineage, receiving: Receiving) -> None:
    """The graph, and OpenLineage out and in."""

    @router.get("/lineage")
    async def get_lineage(
        _: Reader,
        at: At,
        ref: Annotated[str | None, Query(max_length=300)] = None,
        dataset: Text = None,
        code: Text = None,
        direction: Literal["up", "down", "both"] = "both",
        depth: Annotated[int, Query(ge=1, le=MAX_DEPTH)] = MAX_DEPTH,
        nodes: Annotated[int, Query(ge=1, le=MAX_NODES)] = MAX_NODES,
        kinds: Annotated[str, Query(max_length=200, description="of nodes, joined by commas")] = "",
        *,
        previous: bool = False,
    ) -> Json:
        """What a version, a dataset or a commit came from, and what came of it."""
        wanted = frozenset(kind for kind in kinds.split(",") if kind)
        return await lineage.ask(Question(ref, dataset, code, direction, depth, nodes, wanted, previous, at))

    @router.get("/lineage/openlineage")
    async def get_run_event(_: Reader, at: At, ref: Annotated[str, Query(max_length=300)]) -> Json:
        """A version as an OpenLineage RunEvent."""
        return run_event(dict(await find_version(lineage.pool, ref, at)))

    @router.post("/lineage/openlineage")
    async def receive_run_event(
        request: Request, by: Writer, event: Annotated[RunEvent, Depends(body(RunEvent))]
    ) -> Json:
        """Take an OpenLineage RunEvent of a run elsewhere."""
        return {"run": event.run.run_id, "added": await receiving.take(event, by, cause_of(request))}


def add_deployments(router: APIRouter, deployments: Deployments) -> None:
    """Reports, and what is current."""

    @router.post("/models/{model}/deployments", status_code=201)
    async def report_deployment(
        request: Request,
        by: Writer,
        model: str,
        report: Annotated[DeploymentReport, Depends(body(DeploymentReport))],
    ) -> Json:
        """Keep a deployer's report."""
        return await deployments.report(model_name(model), report, by, cause_of(request))

    @router.get("/models/{model}/deployments")
    async def list_model_deployments(_: Reader, model: str, page: Paged) -> Json:
        """A model's current deployments."""
        return await deployments.of_model(model, page)

    @router.get("/deployments")
    async def list_deployments(
        _: Reader, page: Paged, environment: Annotated[str | None, Query(max_length=256)] = None
    ) -> Json:
        """All current deployments, or those of an environment."""
        return await deployments.everywhere(environment, page)


def add_deleting(
    router: APIRouter, reads: Reads, deleting: Deleting, collecting: Collecting, sweeping: Sweeping
) -> None:
    """Deletion of versions, and of bytes that nothing needs."""

    @router.post("/models/{model}/delete")
    async def delete_version(
        request: Request, by: Promoter, model: str, wanted: Annotated[Deletion, Depends(body(Deletion))]
    ) -> Json:
        """Delete a version; 409 with everything that needs it."""
        return await reads.version(await deleting.delete(model_name(model), wanted, by, cause_of(request)))

    @router.post("/gc")
    async def collect_garbage(
        request: Request, by: Admin, wanted: Annotated[Collection, Depends(body(Collection))]
    ) -> Json:
        """Free what nothing needs, or tell what that would be."""
        return await collecting.collect(wanted, by, cause_of(request))

    @router.post("/gc/leftovers")
    async def collect_leftovers(
        request: Request, by: Admin, page: Paged, wanted: Annotated[Sweep, Depends(body(Sweep))]
    ) -> Json:
        """Free what one page of one place holds of refused versions and unmade releases, or tell what that would be."""
        return await sweeping.sweep(wanted, page, by, cause_of(request))
