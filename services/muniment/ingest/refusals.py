"""Refused requests leave an audit entry, as refused events do: from everybody who may publish, the body included.

The first ones of a minute have one each; those beyond are counted and told by one (`RefusalSums`).
"""

# No `from __future__ import annotations`: FastAPI reads the signature of `AuditedBody.__call__`.

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from muniment.contracts import strict_json
from muniment.contracts.errors import Rejected
from muniment.contracts.events import Cause
from muniment.contracts.identity import Author, Principal
from muniment.contracts.model import Payload
from muniment.ingest import announcements
from muniment.runtime.delivery.refused_requests import has_entry_of_its_own
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.http.auth import role
from muniment.runtime.http.requests import Body, cause_of

P = TypeVar("P", bound=Payload)

Writer = Annotated[Principal, Depends(role("writer"))]


@dataclass(frozen=True, slots=True)
class Refusals:
    """Audits what is refused, before the refusal is answered."""

    transactions: Transactions

    @asynccontextmanager
    async def audited(
        self, request: Request, principal: Principal, *, only: type[Rejected] = Rejected
    ) -> AsyncIterator[Cause]:
        """The request as a cause of what the block does. A `Rejected` from the block (`only` such a one, where the
        request reads) is audited and goes on.
        """
        cause = cause_of(request)
        try:
            yield cause
        except only as error:
            author = Author(principal.operator, principal.authenticated_by)
            named = request.path_params.get("publication_id")
            async with self.transactions.begin() as tx:
                if await has_entry_of_its_own(tx, request, principal, error):
                    announcements.declined(tx, error, author, cause, publication_id=named)
            raise


class AuditedBody(Body[P]):
    """A dependency: the request's body as `kind`, like `Body`; a refused one is audited."""

    def __init__(self, kind: type[P], refusals: Refusals) -> None:
        super().__init__(kind, strict_json.MAX_BYTES)
        self._refusals = refusals

    async def __call__(  # type: ignore[override]  # reason: FastAPI alone calls it, by the signature it finds
        self, request: Request, principal: Writer
    ) -> P:
        """The body. Raises what `Body` raises."""
        async with self._refusals.audited(request, principal):
            return await super().__call__(request)
