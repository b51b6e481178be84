"""What is asked of a model's names: branches, pointers and their histories, the contract, and what people said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from muniment.contracts.ids import BranchName, model_name
from muniment.contracts.model import rfc3339
from muniment.registry.branches import find_branch
from muniment.registry.contract import contract_row, demands_of
from muniment.registry.pointers import find_pointer
from muniment.registry.references import find_model, find_version
from muniment.registry.store import POINTERS, SQL
from muniment.runtime.http.pages import Page

Json = dict[str, Any]
_MOVES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Names:
    """Reads of one registry."""

    pool: asyncpg.Pool[Any]

    async def branches(self, name: str, page: Page, at: datetime | None = None) -> Json:
        """A model's branches by name, with their heads now or at a moment."""
        (after,) = page.after(str) or ("",)
        model = await find_model(self.pool, model_name(name))
        if at is None:
            rows = await self.pool.fetch(SQL["branches"], model["id"], after, page.fetch)
        else:
            rows = await self.pool.fetch(POINTERS["branches_then"], model["id"], after, page.fetch, at)
        return page.answer(rows, item=plain, key=lambda row: (row["name"],))

    async def branch(self, name: str, branch: BranchName) -> Json:
        """One branch with its latest movements. Raises `NotFound` (`branch_not_found`)."""
        model = await find_model(self.pool, model_name(name))
        row = await find_branch(self.pool, model["id"], branch)
        moves = await self.pool.fetch(POINTERS["branch_moves"], model["id"], branch, None, _MOVES_SHOWN)
        return {**plain(row), "moves": [plain(move) for move in moves]}

    async def pointers(self, name: str, page: Page, at: datetime | None = None) -> Json:
        """A model's pointers by name, now or at a moment."""
        (after,) = page.after(str) or ("",)
        model = await find_model(self.pool, model_name(name))
        if at is None:
            rows = await self.pool.fetch(POINTERS["list_pointers"], model["id"], after, page.fetch)
        else:
            rows = await self.pool.fetch(POINTERS["pointers_then"], model["id"], after, page.fetch, at)
        return page.answer(rows, item=plain, key=lambda row: (row["name"],))

    async def pointer(self, name: str, pointer: BranchName) -> asyncpg.Record:
        """One pointer's row. Raises `NotFound` (`pointer_not_found`)."""
        model = await find_model(self.pool, model_name(name))
        return await find_pointer(self.pool, model["id"], pointer)

    async def pointer_moves(self, name: str, pointer: BranchName, page: Page) -> Json:
        """Every movement of a pointer, newest first; also of one that was taken away."""
        (below,) = page.after(int) or (None,)
        model = await find_model(self.pool, model_name(name))
        rows = await self.pool.fetch(POINTERS["pointer_moves"], model["id"], pointer, below, page.fetch)
        return page.answer(rows, item=plain, key=lambda row: (row["seq"],))

    async def contract(self, name: str) -> Json:
        """A model's contract."""
        model = await find_model(self.pool, model_name(name))
        return contract_json(await contract_row(self.pool, model["id"]))

    async def said(self, ref: str) -> Json:
        """The newest word of each person, and the newest outcome of each check, on a version."""
        row = await find_version(self.pool, ref)
        words = await self.pool.fetch(POINTERS["approvals"], row["model_id"], row["number"])
        checks = await self.pool.fetch(POINTERS["checks"], row["model_id"], row["number"])
        return {
            "model": row["model"],
            "number": row["number"],
            "approvals": [plain(word) for word in words],
            "checks": [plain(check) for check in checks],
        }


def plain(row: Mapping[str, Any] | asyncpg.Record) -> Json:
    """A row as JSON: times in RFC 3339."""
    return {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in row.items()}


def contract_json(row: asyncpg.Record | None) -> Json:
    """A contract as JSON; one that was never written asks for nothing and has revision 0."""
    freeze = None
    if row is not None and row["frozen_at"] is not None:
        freeze = {"at": rfc3339(row["frozen_at"]), "by": row["frozen_by"], "reason": row["freeze_reason"]}
    return {"revision": row["revision"] if row else 0, **demands_of(row), "freeze": freeze}
