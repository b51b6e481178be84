"""One change that a person asks for: a transaction that holds the model's row, and tells of what it has done.

Everything that moves a name of a model (commits, branches, pointers, promotions, releases, deletions) locks the
model's row first. So the changes of one model have one order, what a gate has seen is still so when it opens, and a
name is never given twice.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from muniment.contracts.errors import NotFound, Rejected
from muniment.contracts.events import Cause, Change, RegistryChanged
from muniment.contracts.identity import Principal
from muniment.contracts.ids import ModelName, VersionId, model_key, printable
from muniment.contracts.model import Payload
from muniment.registry.domain import name_taken
from muniment.registry.references import find_version
from muniment.registry.store import POINTERS, SQL
from muniment.runtime.delivery.transaction import Transactions, Tx

if TYPE_CHECKING:
    from muniment.runtime.delivery.transaction import Connection


@dataclass(frozen=True, slots=True)
class Model:
    """The model whose row the change holds."""

    id: int
    name: ModelName
    last_number: int


@dataclass(frozen=True, slots=True)
class Changing:
    """An open change of one model, by one operator, for one cause."""

    tx: Tx
    model: Model
    by: Principal
    cause: Cause

    @property
    def connection(self) -> Connection:
        """For statements of the change."""
        return self.tx.connection

    async def version(self, ref: str) -> asyncpg.Record:
        """The row (statement `version`) of a version of this model. Raises `Rejected` (`reference_elsewhere`)."""
        row = await find_version(self.connection, ref)
        if row["model_id"] != self.model.id:
            raise Rejected(
                "reference_elsewhere",
                "the reference names a version of another model",
                expected=f"a version of {self.model.name}",
                actual=f"{row['model']}/{row['number']}",
                hint=f"muniment versions ls {self.model.name}",
            )
        return row

    async def check_free(self, name: str) -> None:
        """Raise `Conflict` (`name_taken`) where a branch, a pointer or a release of the model has this name."""
        for row in await self.connection.fetch(SQL["named"], self.model.id, name):
            raise name_taken(name, row["kind"])

    async def keep(self, audit_event: str, action: str, target: str, before: Any, after: Any) -> None:
        """Keep what a change was, so that it can be reverted by its audit entry."""
        await self.connection.execute(
            POINTERS["keep_reversible"],
            audit_event,
            self.model.id,
            action,
            target,
            json.dumps(before),
            json.dumps(after),
            self.tx.now,
        )

    def audit(
        self,
        action: str,
        resource: str,
        changes: Sequence[Change] = (),
        *,
        reason: str | None = None,
        refused: bool = False,
    ) -> str:
        """The change's audit entry; returns its request's event id. `resource` is below `models/{name}/`."""
        return self.tx.audit(
            action=action,
            resource=f"models/{self.model.name}/{resource}" if resource else f"models/{self.model.name}",
            model=self.model.name,
            operator=self.by.operator,
            authenticated_by=self.by.authenticated_by,
            cause=self.cause,
            changes=changes,
            refused=refused,
            reason=None if reason is None else printable(reason),
        )

    def emit(self, data: Payload, *identity: str) -> str:
        """An event of the change; `identity` beside its cause tells it from others of the same change."""
        return self.tx.emit(
            data,
            model=self.model.name,
            correlation=self.cause.id,
            identity=(self.model.name, self.cause.id, *identity),
            cause=self.cause.id,
        )

    def tell(
        self,
        kind: str,
        changes: Sequence[Change] = (),
        *,
        version: VersionId | None = None,
        number: int | None = None,
        branch: str | None = None,
        pointer: str | None = None,
        reason: str | None = None,
    ) -> None:
        """A `registry-changed` event of this kind."""
        event = RegistryChanged.model_validate(
            {
                "kind": kind,
                "model": self.model.name,
                "operator": self.by.operator,
                "version": version,
                "number": number,
                "branch": branch,
                "pointer": pointer,
                "reason": None if reason is None else printable(reason),
                "changes": tuple(changes),
            }
        )
        self.emit(event, kind, branch or pointer or str(number or ""))


@dataclass(frozen=True, slots=True)
class Changes:
    """Opens changes."""

    transactions: Transactions

    @property
    def pool(self) -> asyncpg.Pool[Any]:
        """For what is read before a change."""
        return self.transactions.pool

    @asynccontextmanager
    async def of(self, model: ModelName, by: Principal, cause: Cause) -> AsyncIterator[Changing]:
        """A change of a model: commits at the end of the block, with its events and its audit entry.

        Raises `NotFound` (`model_not_found`).
        """
        async with self.transactions.begin() as tx:
            yield await hold(tx, model, by, cause)


async def hold(tx: Tx, model: ModelName, by: Principal, cause: Cause) -> Changing:
    """A change in an open transaction, which then holds the model's row. Several: in the order of `model_key`.

    Raises `NotFound` (`model_not_found`).
    """
    row = await tx.connection.fetchrow(SQL["lock_models"], [model_key(model)])
    if row is None:
        raise NotFound("model_not_found", f"there is no model {model!r}", actual=model, hint="muniment models ls")
    return Changing(tx, Model(row["id"], row["name"], row["last_number"]), by, cause)
