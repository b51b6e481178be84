"""Refused attempts at what is protected leave an audit entry, in whichever service they are made.

What a service refuses by its own state it audits itself, beside that state (a shut gate, a version that is needed, a
weakened track). What is left is refused before a service has looked, or rolls its transaction back, and is audited
here: a caller without the role, the last admin, a protected branch.

Every such attempt costs a caller with a token a transaction, as any change does. The first ones of a minute at one
operation have an entry each; those beyond are counted, and one entry tells how many they were once the minute is over:
the log does not grow with a caller's patience, and no attempt is lost in number. Refused events of strangers are
counted in the same way (`dead_letters`), and `RefusalSums` tells of both. A caller without a valid token is
nobody, and leaves a line in the process's log alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request

from muniment.contracts.cloudevent import content_event_id
from muniment.contracts.errors import MunimentError, Rejected
from muniment.contracts.events import Cause, Change
from muniment.contracts.identity import Principal
from muniment.contracts.ids import model_name, printable
from muniment.contracts.model import rfc3339
from muniment.runtime.delivery.refusal_rules import ended_before, without_entry
from muniment.runtime.delivery.refusal_tally import SQL, count_refusal
from muniment.runtime.delivery.transaction import Transactions, Tx
from muniment.runtime.http.auth import PRINCIPAL
from muniment.runtime.http.requests import cause_of

ACTION: Final = "request.refused"
LOOK_S: Final = 20.0
_AT_ONCE: Final = 100
PROTECTED: Final = frozenset({"role_missing", "operator_mismatch", "last_admin", "branch_protected", "main_stays_open"})
"""The codes of refusals that no service audits itself."""


def audited_refusals(transactions: Transactions) -> Callable[[Request], AsyncIterator[None]]:
    """A dependency for all routes of a service: such a refusal is in the service's outbox before it is answered.

    Entry: action `request.refused`; resource the path below `/api/v1/`; changes: the operation's id, what was expected
    and what was found. Should the entry not be written, the request fails as that does, and not with the refusal.
    """

    async def watch(request: Request) -> AsyncIterator[None]:
        try:
            yield
        except MunimentError as error:
            principal: Principal | None = getattr(request.state, PRINCIPAL, None)
            if principal is not None and error.code in PROTECTED:
                await _tell(transactions, request, principal, error)
            raise

    return watch


async def has_entry_of_its_own(tx: Tx, request: Request, principal: Principal, error: MunimentError) -> bool:
    """Count a refusal; whether it is one of the first of this minute. Those beyond are told by `RefusalSums`."""
    return await count_refusal(
        tx,
        operator=principal.operator,
        authenticated_by=principal.authenticated_by,
        operation=_operation(request),
        code=error.code,
        resource=printable(request.url.path.removeprefix("/api/v1/")),
    )


async def _tell(transactions: Transactions, request: Request, principal: Principal, error: MunimentError) -> None:
    operation, resource = _operation(request), printable(request.url.path.removeprefix("/api/v1/"))
    said = {"operation": operation, "expected": error.expected, "actual": error.actual}
    async with transactions.begin() as tx:
        if not await has_entry_of_its_own(tx, request, principal, error):
            return
        tx.audit(
            action=ACTION,
            resource=resource,
            model=_model(request),
            operator=principal.operator,
            authenticated_by=principal.authenticated_by,
            cause=cause_of(request),
            changes=[Change(path=name, after=printable(text)) for name, text in said.items() if text],
            refused=True,
            reason=printable(f"{error.code}: {error.message}"),
        )


@dataclass(frozen=True, slots=True)
class RefusalSums:
    """Tells of one service's refusals that have no entry of their own. Any number of processes may run it."""

    transactions: Transactions

    async def run(self) -> None:
        """Look for minutes that are over, for ever."""
        while True:
            await self.tell()
            await asyncio.sleep(LOOK_S)

    async def tell(self) -> int:
        """One entry for each caller, operation, code and ended minute with more refusals than entries."""
        told = 0
        while True:
            async with self.transactions.begin() as tx:
                rows = await tx.connection.fetch(SQL["take_ended"], ended_before(tx.now), _AT_ONCE)
                for row in rows:
                    if more := without_entry(row["count"]):
                        self._sum(tx, row, more)
                        told += 1
            if len(rows) < _AT_ONCE:
                return told

    @staticmethod
    def _sum(tx: Tx, row: Any, more: int) -> None:
        minute = rfc3339(row["minute"])
        which = content_event_id(ACTION, minute, *(row[name] for name in ("operator", "operation", "code")))
        tx.audit(
            action=ACTION,
            resource=row["resource"],
            operator=row["operator"],
            authenticated_by=row["authenticated_by"],
            cause=Cause(kind="schedule", id=f"refusals {rfc3339(tx.now)} {row['authenticated_by']} {which}"),
            changes=[
                Change(path="operation", after=row["operation"]),
                Change(path="count", after=more),
                Change(path="minute", after=minute),
            ],
            refused=True,
            reason=f"{row['code']}: {more} more in this minute, after {row['count'] - more} with entries of their own",
        )


def _operation(request: Request) -> str:
    endpoint: Callable[..., Awaitable[Any]] = request.scope["endpoint"]
    return f"{request.method} {endpoint.__name__}"


def _model(request: Request) -> str | None:
    """The model in the path, if it can be the name of one."""
    named = request.path_params.get("model")
    try:
        return None if named is None else model_name(named)
    except Rejected:
        return None
