"""Pointers: named references that move, with every movement kept. `baseline` is protected: only the gate moves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import asyncpg

from muniment.contracts.errors import Conflict, NotFound, PreconditionFailed
from muniment.contracts.events import Cause, Change
from muniment.contracts.identity import Principal
from muniment.contracts.ids import BranchName, ModelName
from muniment.contracts.model import Line, Payload, Word
from muniment.contracts.reference import BASELINE
from muniment.registry.changing import Changes, Changing
from muniment.registry.store import POINTERS

Verb = Literal["set", "promote", "rollback", "revert"]


class PointerTarget(Payload):
    """Where a pointer is to lead, and why."""

    ref: Word
    reason: Line | None = None


@dataclass(frozen=True, slots=True)
class Pointers:
    """The verbs. Each is one change."""

    changes: Changes

    async def set(
        self, model: ModelName, name: BranchName, to: PointerTarget, by: Principal, cause: Cause, if_match: str | None
    ) -> asyncpg.Record:
        """Make a pointer, or move it. With `if_match` only if its revision still is this one (`*`: if it exists;
        `new`: if it does not).

        Raises `Conflict` (`pointer_protected`, `name_taken`, `version_deleted`) and `PreconditionFailed`
        (`pointer_moved`).
        """
        await self._refuse_protected(model, name, by, cause, f"pointers/{name}", to.reason)
        async with self.changes.of(model, by, cause) as change:
            now = await change.connection.fetchrow(POINTERS["pointer"], change.model.id, name)
            check_match(name, now, if_match)
            if now is None:
                await change.check_free(name)
            target = await change.version(to.ref)
            if target["deleted_at"] is not None:
                raise version_deleted(target)
            if now is None or now["number"] != target["number"]:
                await move(change, name, "set", now, target, to.reason)
            return await find_pointer(change.connection, change.model.id, name)

    async def delete(
        self, model: ModelName, name: BranchName, reason: str | None, by: Principal, cause: Cause, if_match: str | None
    ) -> None:
        """Take a pointer away; its history stays. Raises as `set`, and `NotFound` (`pointer_not_found`)."""
        await self._refuse_protected(model, name, by, cause, f"pointers/{name}", reason)
        async with self.changes.of(model, by, cause) as change:
            now = await find_pointer(change.connection, change.model.id, name)
            check_match(name, now, if_match)
            await remove(change, name, now, reason)

    async def _refuse_protected(
        self, model: ModelName, name: str, by: Principal, cause: Cause, resource: str, reason: str | None
    ) -> None:
        """An attempt at the baseline is an audit entry of its own, then an error."""
        if name != BASELINE:
            return
        async with self.changes.of(model, by, cause) as change:
            change.audit("pointer.moved", resource, reason=f"pointer_protected: {reason or ''}", refused=True)
        raise Conflict(
            "pointer_protected",
            "the baseline moves by promotion and rollback alone",
            expected="muniment promote or muniment rollback",
            actual=name,
            hint="muniment promote REF --reason TEXT",
        )


async def find_pointer(source: Any, model_id: int, name: str) -> asyncpg.Record:
    """The row of a pointer. Raises `NotFound` (`pointer_not_found`)."""
    row: asyncpg.Record | None = await source.fetchrow(POINTERS["pointer"], model_id, name)
    if row is None:
        raise NotFound("pointer_not_found", "there is no such pointer", actual=name, hint="muniment pointer ls MODEL")
    return row


def etag(row: asyncpg.Record) -> str:
    """A pointer's ETag: its revision, in quotes as RFC 9110 wants it."""
    return f'"{row["revision"]}"'


def check_match(name: str, now: asyncpg.Record | None, if_match: str | None) -> None:
    """Raise `PreconditionFailed` (`pointer_moved`) unless the pointer is in the state the caller named."""
    if if_match is None:
        return
    actual = "no pointer" if now is None else etag(now)
    fits = (now is None) if if_match == "new" else now is not None and if_match in {"*", etag(now)}
    if not fits:
        raise PreconditionFailed(
            "pointer_moved",
            f"the pointer {name!r} is not in the state that was named",
            expected=if_match,
            actual=actual,
            hint=f"look again: muniment pointer show MODEL {name}",
        )


async def move(
    change: Changing,
    name: str,
    verb: Verb,
    now: asyncpg.Record | None,
    target: asyncpg.Record,
    reason: str | None,
    action: str = "pointer.moved",
    more: Sequence[Change] = (),
) -> None:
    """Write a movement with its history, and its audit entry (with what `more` has changed beside it). The event is
    the caller's where the pointer is the baseline.
    """
    await change.connection.execute(
        POINTERS["move_pointer"],
        change.model.id,
        name,
        verb,
        None if now is None else now["number"],
        target["number"],
        change.tx.now,
        change.by.operator,
        reason,
        f"request {change.cause.id}",
    )
    before = None if now is None else now["id"]
    changes = [Change(path=f"pointers/{name}", before=before, after=target["id"])]
    if name != BASELINE:
        change.tell(
            "pointer-moved", changes, pointer=name, version=target["id"], number=target["number"], reason=reason
        )
    event = change.audit(action, f"pointers/{name}", [*changes, *more], reason=reason)
    await change.keep(event, "pointer.moved", name, None if now is None else now["number"], target["number"])


async def remove(change: Changing, name: str, now: asyncpg.Record, reason: str | None) -> None:
    """Take a pointer away."""
    await change.connection.execute(
        POINTERS["delete_pointer"],
        change.model.id,
        name,
        now["number"],
        change.tx.now,
        change.by.operator,
        reason,
        f"request {change.cause.id}",
    )
    changes = [Change(path=f"pointers/{name}", before=now["id"])]
    change.tell("pointer-deleted", changes, pointer=name, reason=reason)
    event = change.audit("pointer.deleted", f"pointers/{name}", changes, reason=reason)
    await change.keep(event, "pointer.moved", name, now["number"], None)


def version_deleted(row: asyncpg.Record) -> Conflict:
    """Nothing leads to a deleted version."""
    return Conflict(
        "version_deleted",
        f"{row['model']}/{row['number']} was deleted",
        expected="a version that is there",
        actual=f"deleted by {row['deleted_by']}: {row['deleted_reason']}",
        hint=f"name another version: muniment versions ls {row['model']}",
    )
