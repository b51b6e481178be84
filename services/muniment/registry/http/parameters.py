"""What the registry's routes take: who asks, in which role, and which page."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends

from muniment.contracts.identity import Principal
from muniment.runtime.http.auth import role
from muniment.runtime.http.pages import Page, page_of

Reader = Annotated[Principal, Depends(role("reader"))]
Writer = Annotated[Principal, Depends(role("writer"))]
Promoter = Annotated[Principal, Depends(role("promoter"))]
Admin = Annotated[Principal, Depends(role("admin"))]
Paged = Annotated[Page, Depends(page_of)]
Json = dict[str, Any]
