"""What the registry's routes take: who asks, in which role, and which page."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Query

from muniment.contracts.errors import Rejected
from muniment.contracts.identity import Principal
from muniment.runtime.http.auth import role
from muniment.runtime.http.pages import Page, page_of


async def _moment(
    at: Annotated[datetime | None, Query(description="as of this moment, RFC 3339")] = None,
) -> datetime | None:
    if at is not None and at.tzinfo is None:
        raise Rejected(
            "time_without_zone",
            "a moment needs an offset",
            expected="RFC 3339, for example 2026-01-02T03:04:05Z",
            actual=at.isoformat(),
        )
    return at


Reader = Annotated[Principal, Depends(role("reader"))]
Writer = Annotated[Principal, Depends(role("writer"))]
Promoter = Annotated[Principal, Depends(role("promoter"))]
At = Annotated[datetime | None, Depends(_moment)]
"""`?at=`: as of this moment (RFC 3339 with an offset)."""
Paged = Annotated[Page, Depends(page_of)]
Json = dict[str, Any]
