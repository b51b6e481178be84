"""Refused attempts at what is protected leave an audit entry, in whichever service they are made.

What a service refuses by its own state it audits itself, beside that state (a shut gate, a version that is needed, a
weakened track). What is left is refused before a service has looked, or rolls its transaction back, and is audited
here: a caller without the role, the last admin, a protected branch.

Every such attempt has its entry, however often it is made: it costs a caller with a token a transaction, as any
change does. A caller without a valid token is nobody, and leaves a line in the process's log alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from starlette.requests import Request

from muniment.contracts.errors import MunimentError, Rejected
from muniment.contracts.events import Change
from muniment.contracts.identity import Principal
from muniment.contracts.ids import model_name, printable
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.http.auth import PRINCIPAL
from muniment.runtime.http.requests import cause_of

ACTION: Final = "request.refused"
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


async def _tell(transactions: Transactions, request: Request, principal: Principal, error: MunimentError) -> None:
    said = {"operation": _operation(request), "expected": error.expected, "actual": error.actual}
    async with transactions.begin() as tx:
        tx.audit(
            action=ACTION,
            resource=printable(request.url.path.removeprefix("/api/v1/")),
            model=_model(request),
            operator=principal.operator,
            authenticated_by=principal.authenticated_by,
            cause=cause_of(request),
            changes=[Change(path=name, after=printable(text)) for name, text in said.items() if text],
            refused=True,
            reason=printable(f"{error.code}: {error.message}"),
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
