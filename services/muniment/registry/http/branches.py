"""Routes of branches and pointers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from muniment.contracts.ids import branch_name, model_name, pointer_name
from muniment.registry import pointers as pointing
from muniment.registry.branches import Branches, BranchState, NewBranch
from muniment.registry.http.parameters import At, Json, Paged, Reader, Writer
from muniment.registry.names import Names, plain
from muniment.registry.pointers import Pointers, PointerTarget
from muniment.runtime.http.requests import body, cause_of

IfMatch = Annotated[str | None, Header(max_length=100)]


def add_branches(router: APIRouter, names: Names, branches: Branches) -> None:
    """Branches are made, shown, changed; never taken away."""

    @router.get("/models/{model}/branches")
    async def list_branches(_: Reader, model: str, page: Paged, at: At) -> Json:
        """A model's branches by name, with their heads now or as of `at`."""
        return await names.branches(model, page, at)

    @router.post("/models/{model}/branches", status_code=201)
    async def create_branch(
        request: Request, by: Writer, model: str, new: Annotated[NewBranch, Depends(body(NewBranch))]
    ) -> Json:
        """Start a branch at a version, by default at the head of main."""
        return plain(await branches.create(model_name(model), new, by, cause_of(request)))

    @router.get("/models/{model}/branches/{name:path}")
    async def get_branch(_: Reader, model: str, name: str) -> Json:
        """One branch, with its latest movements."""
        return await names.branch(model, branch_name(name))

    @router.patch("/models/{model}/branches/{name:path}")
    async def change_branch(
        request: Request, by: Writer, model: str, name: str, wanted: Annotated[BranchState, Depends(body(BranchState))]
    ) -> Json:
        """Close or open a branch; protect it or not (role promoter)."""
        return plain(await branches.set_state(model_name(model), branch_name(name), wanted, by, cause_of(request)))


def add_pointers(router: APIRouter, names: Names, pointers: Pointers) -> None:
    """Pointers. `If-Match` with a revision makes a change conditional; `If-None-Match: *` only makes new ones."""

    @router.get("/models/{model}/pointers")
    async def list_pointers(_: Reader, model: str, page: Paged, at: At) -> Json:
        """A model's pointers by name, now or as of `at`."""
        return await names.pointers(model, page, at)

    @router.get("/models/{model}/pointer-moves")
    async def list_pointer_moves(_: Reader, model: str, page: Paged, name: str) -> Json:
        """Every movement of a pointer, newest first: who, when, why, from, to."""
        return await names.pointer_moves(model, pointer_name(name), page)

    @router.get("/models/{model}/pointers/{name:path}")
    async def get_pointer(_: Reader, model: str, name: str, response: Response) -> Json:
        """One pointer; its ETag is for If-Match."""
        row = await names.pointer(model, pointer_name(name))
        response.headers["etag"] = pointing.etag(row)
        return plain(row)

    @router.put("/models/{model}/pointers/{name:path}")
    async def set_pointer(
        request: Request,
        response: Response,
        by: Writer,
        model: str,
        name: str,
        to: Annotated[PointerTarget, Depends(body(PointerTarget))],
        if_match: IfMatch = None,
        if_none_match: IfMatch = None,
    ) -> Json:
        """Make a pointer or move it. The baseline is refused here: it moves by promotion and rollback."""
        wanted = "new" if if_none_match == "*" else if_match
        row = await pointers.set(model_name(model), pointer_name(name), to, by, cause_of(request), wanted)
        response.headers["etag"] = pointing.etag(row)
        return plain(row)

    @router.delete("/models/{model}/pointers/{name:path}", status_code=204)
    async def delete_pointer(
        request: Request,
        by: Writer,
        model: str,
        name: str,
        reason: Annotated[str | None, Query(max_length=2000)] = None,
        if_match: IfMatch = None,
    ) -> Response:
        """Take a pointer away; its history stays."""
        await pointers.delete(model_name(model), pointer_name(name), reason, by, cause_of(request), if_match)
        return Response(status_code=204)


def rows(found: Any) -> list[Json]:
    """Rows as JSON objects."""
    return [plain(row) for row in found]
