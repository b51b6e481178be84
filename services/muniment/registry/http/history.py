"""Routes of a history: its graph, blame, bisect."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from muniment.contracts.errors import Rejected
from muniment.contracts.ids import model_name
from muniment.contracts.reference import parse_reference
from muniment.registry.history import History
from muniment.registry.history.bisects import Question
from muniment.registry.history.judging import predicate
from muniment.registry.http.parameters import Json, Paged, Reader
from muniment.registry.tolerances import Measured
from muniment.runtime.http.requests import body

Ref = Annotated[str, Query(max_length=300)]
Word = Annotated[str, Query(min_length=1, max_length=256)]


def add_history(router: APIRouter, history: History) -> None:
    """Reads alone: a bisect's state is its asker's."""

    @router.get("/models/{model}/graph")
    async def get_graph(
        _: Reader, model: str, page: Paged, ref: Annotated[str | None, Query(max_length=300)] = None
    ) -> Json:
        """Versions with their edges, newest first; with `ref` those that lead to it."""
        if ref is not None and parse_reference(ref).model.lower() != model_name(model).lower():
            raise Rejected("reference_of_other_model", "the reference is of another model", expected=model, actual=ref)
        return await history.rows.page(model, ref, page)

    @router.get("/blame")
    async def get_blame(
        _: Reader, ref: Ref, fields: Word = "*", tensors: bool = False, whole_graph: bool = False
    ) -> Json:
        """For each field (a shell pattern picks some) and tensor: the version that last changed it."""
        return await history.blames.blame(ref, fields, tensors=tensors, whole_graph=whole_graph)

    @router.get("/bisect")
    async def get_bisect(
        _: Reader,
        good: Ref,
        bad: Ref,
        metric: Word,
        drop: float | None = None,
        rise: float | None = None,
        below: float | None = None,
        above: float | None = None,
        slice: Annotated[str | None, Query(max_length=256)] = None,  # noqa: A002  # reason: the word of tolerances
        dataset: Annotated[str | None, Query(max_length=256)] = None,
    ) -> Json:
        """The first version that is bad by stored metrics, and what changed there."""
        rule = predicate(Measured(metric, dataset, slice), {"drop": drop, "rise": rise, "below": below, "above": above})
        return await history.bisects.automatic(good, bad, rule)

    @router.post("/models/{model}/bisect")
    async def bisect_step(_: Reader, model: str, question: Annotated[Question, Depends(body(Question))]) -> Json:
        """The next version to test, or the first bad one. Keeps nothing."""
        return await history.bisects.step(model, question)
