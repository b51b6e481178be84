"""The registry's HTTP API: reads, candidates, presigned downloads."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from muniment.contracts.errors import Rejected
from muniment.contracts.ids import branch_name, publication_id
from muniment.contracts.identity import Principal
from muniment.registry.candidates import Candidates, Decision, Refusal
from muniment.registry.candidate_reads import candidate_rows
from muniment.registry.reads import Reads
from muniment.runtime.http.auth import role
from muniment.runtime.http.pages import Page, page_of
from muniment.runtime.http.requests import body, cause_of

Reader = Annotated[Principal, Depends(role("reader"))]
Writer = Annotated[Principal, Depends(role("writer"))]
Paged = Annotated[Page, Depends(page_of)]
