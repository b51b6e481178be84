"""Routes of the way to the baseline: contract, freeze, approvals, checks, promotion, rollback, revert."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from muniment.contracts.ids import model_name
from muniment.registry.contract import Approval, CheckReport, Contracts, Demands, Why
from muniment.registry.describing import Describing, Description
from muniment.registry.http.branches import IfMatch, rows
from muniment.registry.http.parameters import Json, Promoter, Reader, Writer
from muniment.registry.names import Names, contract_json, plain
from muniment.registry.promotion import Outcome, Promotion, Promotions, Rollback
from muniment.registry.reads import Reads
from muniment.registry.reverting import Revert, Reverting
from muniment.runtime.http.requests import body, cause_of


def add_contract(router: APIRouter, names: Names, contracts: Contracts) -> None:
    """What a version must pass, and what is said of it."""

    @router.get("/models/{model}/contract")
    async def get_contract(_: Reader, model: str, response: Response) -> Json:
        """The demands on the baseline; the ETag is for If-Match."""
        found = await names.contract(model)
        response.headers["etag"] = f'"{found["revision"]}"'
        return found

    @router.put("/models/{model}/contract")
    async def put_contract(
        request: Request,
        by: Promoter,
        model: str,
        demands: Annotated[Demands, Depends(body(Demands))],
        if_match: IfMatch = None,
    ) -> Json:
        """Replace the demands."""
        return contract_json(await contracts.put(model_name(model), demands, by, cause_of(request), if_match))

    @router.post("/models/{model}/freeze")
    async def freeze(request: Request, by: Promoter, model: str, why: Annotated[Why, Depends(body(Why))]) -> Json:
        """Let nothing become the baseline until it is unfrozen."""
        return contract_json(await contracts.freeze(model_name(model), why, why.reason, by, cause_of(request)))

    @router.post("/models/{model}/unfreeze")
    async def unfreeze(request: Request, by: Promoter, model: str, why: Annotated[Why, Depends(body(Why))]) -> Json:
        """Let promotions pass again."""
        return contract_json(await contracts.freeze(model_name(model), None, why.reason, by, cause_of(request)))

    @router.get("/approvals")
    async def list_approvals(_: Reader, ref: Annotated[str, Query(max_length=300)]) -> Json:
        """The newest word of each person on a version, and the newest outcome of each check."""
        return await names.said(ref)

    @router.post("/models/{model}/approvals")
    async def approve(
        request: Request, by: Promoter, model: str, approval: Annotated[Approval, Depends(body(Approval))]
    ) -> Json:
        """Say yes or no to a version."""
        return {"items": rows(await contracts.approve(model_name(model), approval, by, cause_of(request)))}

    @router.post("/models/{model}/checks")
    async def report_check(
        request: Request, by: Writer, model: str, report: Annotated[CheckReport, Depends(body(CheckReport))]
    ) -> Json:
        """Keep the outcome of a check of a version."""
        return {"items": rows(await contracts.check(model_name(model), report, by, cause_of(request)))}


def add_promotion(
    router: APIRouter, reads: Reads, promotions: Promotions, reverting: Reverting, describing: Describing
) -> None:
    """The verbs that move the baseline, and those that change a version's texts or put a change back."""

    @router.post("/models/{model}/promote")
    async def promote(
        request: Request, by: Promoter, model: str, wanted: Annotated[Promotion, Depends(body(Promotion))]
    ) -> Json:
        """Bring a version onto main and make it the baseline. 409 with every gate's outcome when one is shut."""
        return _outcome(await promotions.promote(model_name(model), wanted, by, cause_of(request)))

    @router.post("/models/{model}/rollback")
    async def rollback(
        request: Request, by: Promoter, model: str, wanted: Annotated[Rollback, Depends(body(Rollback))]
    ) -> Json:
        """Lead the baseline back, after reading the target's bytes again."""
        return _outcome(await promotions.rollback(model_name(model), wanted, by, cause_of(request)))

    @router.post("/models/{model}/revert")
    async def revert(
        request: Request, by: Writer, model: str, wanted: Annotated[Revert, Depends(body(Revert))]
    ) -> Json:
        """Reverse an audited change as a new change."""
        return await reverting.revert(model_name(model), wanted, by, cause_of(request))

    @router.post("/models/{model}/describe")
    async def describe(
        request: Request, by: Writer, model: str, wanted: Annotated[Description, Depends(body(Description))]
    ) -> Json:
        """Change a version's description and tags."""
        await describing.describe(model_name(model), wanted, by, cause_of(request))
        return await reads.version(wanted.ref)


def _outcome(outcome: Outcome) -> Json:
    version = outcome.version
    return {
        "changed": outcome.changed,
        "line": outcome.line,
        "baseline": {"model": version["model"], "number": version["number"], "id": version["id"]},
        "previous": None
        if outcome.previous is None
        else {"number": outcome.previous["number"], "id": outcome.previous["id"]},
        "gates": [gate.model_dump(exclude_none=True) for gate in outcome.gates],
        "undone": [plain(move) for move in outcome.undone],
    }
