"""What the registry's routes take: who asks, in which role, and which page."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Depends, Query

from muniment.contracts.errors import Rejected
from muniment.contracts.identity import Principal
from muniment.runtime.http.auth import role
from muniment.runtime.http.pages import Page, page_of

_RFC_3339: Final = "RFC 3339, for example 2026-01-02T03:04:05Z"


async def _moment(
    at: Annotated[
        str | None,
        Query(description="as of this moment, RFC 3339", max_length=64, json_schema_extra={"format": "date-time"}),
    ] = None,
) -> datetime | None:
    """The moment. Not by the framework: that takes `5` for five seconds after 1970."""
    if at is None:
        return None
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        moment = None
    if moment is None or at[4:8:3] != "--":  # ISO 8601 has more spellings than RFC 3339, some of them mere digits
        raise Rejected("time_invalid", "the moment is not understood", expected=_RFC_3339, actual=repr(at))
    if moment.tzinfo is None:
        raise Rejected("time_without_zone", "a moment needs an offset", expected=_RFC_3339, actual=at)
    return moment


Reader = Annotated[Principal, Depends(role("reader"))]
Writer = Annotated[Principal, Depends(role("writer"))]
Promoter = Annotated[Principal, Depends(role("promoter"))]
Admin = Annotated[Principal, Depends(role("admin"))]
At = Annotated[datetime | None, Depends(_moment)]
"""`?at=`: as of this moment (RFC 3339 with an offset)."""
Paged = Annotated[Page, Depends(page_of)]
Json = dict[str, Any]
