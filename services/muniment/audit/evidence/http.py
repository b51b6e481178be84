"""Evidence packs over HTTP, for auditors."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from muniment.audit.evidence.export import Evidence
from muniment.audit.evidence.question import Question
from muniment.audit.http import Moment, moment_of
from muniment.contracts.identity import Principal
from muniment.contracts.ids import model_name
from muniment.runtime.http.auth import role

Auditor = Annotated[Principal, Depends(role("auditor"))]


def add_evidence(routes: APIRouter, evidence: Evidence) -> None:
    """The one route."""

    @routes.get("/evidence", response_class=Response, responses={200: {"content": {"application/x-tar": {}}}})
    async def audit_evidence(
        _: Auditor,
        model: Annotated[str, Query(max_length=256)],
        since: Annotated[Moment, Query(alias="from")] = None,
        until: Annotated[Moment, Query(alias="to")] = None,
    ) -> Response:
        """An evidence pack: everything that the log says of a model between two times, with its proofs.

        A tar file of entries, receipts, checkpoint, keys, manifests and a readable report; `muniment-verify evidence`
        checks it offline. `from` (included) and `to` (not) are log times. An answer that ends early is no pack.
        """
        question = Question(model_name(model), moment_of("from", since), moment_of("to", until))
        pack = await evidence.pack(question)
        headers = {
            "content-disposition": f'attachment; filename="evidence-{question.model}.tar"',
            "cache-control": "private, no-store",
        }
        return StreamingResponse(evidence.stream(pack), media_type="application/x-tar", headers=headers)
