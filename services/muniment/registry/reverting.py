"""Reversing a change that the audit log tells of, as a new change: nothing is ever undone in silence.

A change is reversed only while what it made is still so. The baseline goes back through the gate, as by a rollback.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from muniment.contracts.errors import Conflict, NotFound, Rejected
from muniment.contracts.events import Cause
from muniment.contracts.identity import Principal
from muniment.contracts.ids import ModelName
from muniment.contracts.model import Payload, Reason, Word
from muniment.contracts.reference import BASELINE
from muniment.registry.branches import find_branch, set_closed, set_protected
from muniment.registry.changing import Changes, Changing
from muniment.registry.contract import (
    FROZEN,
    Demands,
    Why,
    contract_row,
    demands_of,
    freeze_of,
    put_demands,
    put_freeze,
)
from muniment.registry.describing import texts_of, write_texts
from muniment.registry.pointers import move, remove
from muniment.registry.promotion import Promotions, Rollback
from muniment.registry.references import find_model
from muniment.registry.store import POINTERS


class Revert(Payload):
    """The entry to reverse, by its `event_id`, and why."""

    event_id: Word
    reason: Reason


@dataclass(frozen=True, slots=True)
class Reverting:
    """The verb."""

    changes: Changes
    promotions: Promotions

    async def revert(self, model: ModelName, wanted: Revert, by: Principal, cause: Cause) -> dict[str, Any]:
        """Make the opposite of a change; returns what was done: action, target, the value before and after.

        Raises `NotFound` (`not_reversible`) for an entry that changed nothing that can be put back, and `Conflict`
        (`changed_since`) where the thing has been changed again.
        """
        row = await self.changes.pool.fetchrow(POINTERS["reversible"], wanted.event_id)
        if row is None or row["model"].lower() != model.lower():
            raise NotFound(
                "not_reversible",
                "no change of this model that can be reversed has this entry",
                expected="the entry of a changed pointer, branch, description, tag, contract or freeze",
                actual=wanted.event_id,
                hint="muniment audit ls --model MODEL",
            )
        before, after = json.loads(row["before"]), json.loads(row["after"])
        reason = f"reverts {wanted.event_id}: {wanted.reason}"[:2000]
        if row["action"] == "pointer.moved" and row["target"] == BASELINE:
            await self._baseline(model, before, after, reason, by, cause)
        else:
            async with self.changes.of(model, by, cause) as change:
                await _APPLY[row["action"]](change, row["target"], before, after, reason)
        return {"action": row["action"], "target": row["target"], "from": after, "to": before}

    async def _baseline(
        self, model: ModelName, before: int | None, after: int, reason: str, by: Principal, cause: Cause
    ) -> None:
        by.require("promoter")
        if before is None:
            raise Rejected(
                "first_baseline",
                "the entry made the model's first baseline",
                expected="one that replaced another baseline",
                hint="promote another version",
            )
        found = await find_model(self.changes.pool, model)
        row = await self.changes.pool.fetchrow(POINTERS["pointer"], found["id"], BASELINE)
        _unchanged(None if row is None else row["number"], after)
        await self.promotions.rollback(model, Rollback(to=f"{model}/{before}", reason=reason), by, cause, "revert")


async def _pointer(change: Changing, name: str, before: int | None, after: int | None, reason: str) -> None:
    row = await change.connection.fetchrow(POINTERS["pointer"], change.model.id, name)
    _unchanged(None if row is None else row["number"], after)
    if before is None:
        assert row is not None  # noqa: S101  # reason: something was there after the change, and still is
        await remove(change, name, row, reason)
        return
    if row is None:
        await change.check_free(name)
    await move(
        change, name, "revert", row, await change.version(f"{change.model.name}/{before}"), reason, "pointer.reverted"
    )


async def _protected(change: Changing, name: str, before: bool, after: bool, reason: str) -> None:
    change.by.require("promoter")
    row = await find_branch(change.connection, change.model.id, name)
    _unchanged(row["protected"], after)
    await set_protected(change, name, protected=before, reason=reason)


async def _closed(change: Changing, name: str, before: bool, after: bool, reason: str) -> None:
    row = await find_branch(change.connection, change.model.id, name)
    _unchanged(row["closed_at"] is not None, after)
    await set_closed(change, name, row, closed=before, reason=reason)


async def _described(change: Changing, number: str, before: Any, after: Any, reason: str) -> None:
    row = await change.version(f"{change.model.name}/{number}")
    _unchanged(texts_of(row), after)
    await write_texts(change, row["number"], after, before, reason)


async def _contract(change: Changing, target: str, before: Any, after: Any, reason: str) -> None:
    change.by.require("promoter")
    _unchanged(demands_of(await contract_row(change.connection, change.model.id)), after)
    await put_demands(change, Demands.model_validate({**before, "reason": reason}))


async def _frozen(change: Changing, target: str, before: Any, after: Any, reason: str) -> None:
    change.by.require("promoter")
    _unchanged(freeze_of(await contract_row(change.connection, change.model.id)), after)
    await put_freeze(change, None if before is None else Why(reason=before["reason"]), reason)


def _unchanged(now: Any, after: Any) -> None:
    if now != after:
        raise Conflict(
            "changed_since",
            "what the entry changed has been changed again",
            expected=json.dumps(after)[:300],
            actual=json.dumps(now)[:300],
            hint="revert the later change first",
        )


_APPLY: Final[dict[str, Callable[[Changing, str, Any, Any, str], Awaitable[None]]]] = {
    "pointer.moved": _pointer,
    "branch.protected": _protected,
    "branch.closed": _closed,
    "version.described": _described,
    "contract.changed": _contract,
    FROZEN: _frozen,
}
