"""Branches: made, closed, opened again, protected. A branch keeps its versions whatever happens to it.

How a head moves: by a commit (the model's row is locked, so of two publishers each gets a number of its own and the
later one has the earlier one as its previous: nobody's version is lost), and by a promotion. A closed branch takes no
commits; a protected one only promoted versions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg

from muniment.contracts.errors import Conflict, NotFound
from muniment.contracts.events import Cause, Change
from muniment.contracts.identity import Principal
from muniment.contracts.ids import MAIN, BranchName, ModelName
from muniment.contracts.model import BranchField, Line, Payload, Word
from muniment.registry.changing import Changes, Changing
from muniment.registry.domain import branch_protected
from muniment.registry.store import POINTERS


class NewBranch(Payload):
    """A branch to be: its name and where it starts (by default the head of main)."""

    name: BranchField
    ref: Word | None = None
    reason: Line | None = None


class BranchState(Payload):
    """What is to be so from now on; what is left out stays."""

    closed: bool | None = None
    protected: bool | None = None
    reason: Line | None = None


@dataclass(frozen=True, slots=True)
class Branches:
    """The verbs. Each is one change."""

    changes: Changes

    async def create(self, model: ModelName, new: NewBranch, by: Principal, cause: Cause) -> Any:
        """Start a branch at a version; its first commit has that one as its previous.

        Raises `Conflict` (`name_taken`) and what `find_version` raises.
        """
        async with self.changes.of(model, by, cause) as change:
            await change.check_free(new.name)
            start = await change.version(new.ref or f"{model}@{MAIN}")
            await change.connection.execute(
                POINTERS["create_branch"],
                change.model.id,
                new.name,
                start["number"],
                change.tx.now,
                by.operator,
                f"request {cause.id}",
                new.reason,
            )
            changes = [Change(path="head", after=start["id"])]
            change.tell("branch-created", changes, branch=new.name, version=start["id"], number=start["number"])
            change.audit("branch.created", f"branches/{new.name}", changes, reason=new.reason)
            return await self._row(change, new.name)

    async def set_state(
        self, model: ModelName, name: BranchName, wanted: BranchState, by: Principal, cause: Cause
    ) -> Any:
        """Close, open, protect or unprotect a branch. What is so already changes nothing and leaves no entry.

        Protecting and unprotecting take the role `promoter`. Raises `NotFound` (`branch_not_found`), `Conflict`
        (`branch_protected`, `main_stays_open`) and `Forbidden`.
        """
        async with self.changes.of(model, by, cause) as change:
            row = await self._row(change, name)
            if wanted.protected is not None and wanted.protected != row["protected"]:
                by.require("promoter")
                await set_protected(change, name, protected=wanted.protected, reason=wanted.reason)
                row = await self._row(change, name)
            if wanted.closed is not None and wanted.closed != (row["closed_at"] is not None):
                await set_closed(change, name, row, closed=wanted.closed, reason=wanted.reason)
            return await self._row(change, name)

    @staticmethod
    async def _row(change: Changing, name: str) -> asyncpg.Record:
        return await find_branch(change.connection, change.model.id, name)


async def find_branch(source: Any, model_id: int, name: str) -> asyncpg.Record:
    """The row of a branch. Raises `NotFound` (`branch_not_found`)."""
    row: asyncpg.Record | None = await source.fetchrow(POINTERS["branch"], model_id, name)
    if row is None:
        raise NotFound("branch_not_found", "there is no such branch", actual=name, hint="muniment branch ls MODEL")
    return row


async def set_protected(change: Changing, name: str, *, protected: bool, reason: str | None) -> None:
    """Protect a branch, or no more."""
    await change.connection.execute(POINTERS["protect_branch"], change.model.id, name, protected)
    changes = [Change(path="protected", before=not protected, after=protected)]
    change.tell("branch-changed", changes, branch=name, reason=reason)
    event = change.audit("branch.protected", f"branches/{name}", changes, reason=reason)
    await change.keep(event, "branch.protected", name, not protected, protected)


async def set_closed(change: Changing, name: str, row: asyncpg.Record, *, closed: bool, reason: str | None) -> None:
    """Close a branch, or open it again. Main, and a protected one, stay as they are."""
    if closed and name == MAIN:
        raise Conflict("main_stays_open", "main is the master and cannot be closed", actual=name)
    if row["protected"]:
        raise branch_protected(name)
    await change.connection.execute(
        POINTERS["close_branch"],
        change.model.id,
        name,
        change.tx.now if closed else None,
        change.by.operator if closed else None,
    )
    changes = [Change(path="closed", before=not closed, after=closed)]
    change.tell("branch-changed", changes, branch=name, reason=reason)
    event = change.audit("branch.closed" if closed else "branch.reopened", f"branches/{name}", changes, reason=reason)
    await change.keep(event, "branch.closed", name, not closed, closed)
