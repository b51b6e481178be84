"""Pages of a model's graph: versions, newest first, each with its edges."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from muniment.contracts.ids import model_name
from muniment.contracts.model import rfc3339
from muniment.contracts.reference import parse_reference
from muniment.registry.history.graph import Graph, Node
from muniment.registry.history.loading import Histories
from muniment.registry.references import find_model, find_number
from muniment.runtime.http.pages import Page

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class GraphRows:
    """Answers the graph."""

    histories: Histories

    async def page(self, name: str, ref: str | None, page: Page) -> Json:
        """Versions of the model, newest first; with a reference those that lead to it.

        Raises as `find_version`, and `TooLarge` (`history_too_large`).
        """
        (below,) = page.after(int) or (None,)
        if ref is None:
            model = await find_model(self.histories.pool, model_name(name))
            top = model["versions"] + 1 if below is None else below
            return page.answer(await self.histories.page(model, top, page.fetch), item=_row, key=_key)
        reference = parse_reference(ref)
        model = await find_model(self.histories.pool, reference.model)
        # From the reference again on each page: whether a version leads to it cannot be seen from the page before.
        start = await find_number(self.histories.pool, reference, model)
        graph = await self.histories.graph(model, start)
        return page.answer(await asyncio.to_thread(_leading, graph, start, below, page.fetch), item=_row, key=_key)


def _leading(graph: Graph, start: int, below: int | None, limit: int) -> list[Node]:
    numbers = sorted(graph.ancestors([start]), reverse=True)
    return [graph.nodes[number] for number in numbers if below is None or number < below][:limit]


def _key(node: Node) -> tuple[int]:
    return (node.number,)


def _row(node: Node) -> Json:
    return {
        "number": node.number,
        "id": node.id,
        "branch": node.branch,
        "operator": node.operator,
        "committed_at": rfc3339(node.committed_at),
        "deleted": node.deleted,
        "edges": [
            {"kind": edge.kind, "id": edge.id, "number": edge.number, "model": edge.model} for edge in node.edges
        ],
    }
