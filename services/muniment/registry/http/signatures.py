"""Routes of signatures: a version's own, checking it again, and what the registry signs itself."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from muniment.contracts.ids import model_name
from muniment.registry.attesting import Attesting
from muniment.registry.http.parameters import Json, Promoter, Reader
from muniment.registry.reads import Reads
from muniment.registry.signature_checks import SignatureCheck, SignatureChecks
from muniment.runtime.http.requests import body, cause_of


def add_signatures(router: APIRouter, reads: Reads, attesting: Attesting, checks: SignatureChecks) -> None:
    """Reads, and one verb that keeps a new outcome. To be added before the routes of versions, which take any path."""

    @router.get("/signing-key")
    async def get_signing_key(_: Reader) -> Json:
        """The public key that the registry's attestations verify with."""
        return attesting.key_facts()

    @router.get("/versions/{ref:path}/attestations")
    async def get_attestations(_: Reader, ref: str) -> Json:
        """The registry's own OMS bundle and SLSA v1 provenance of a version; equal for each asking."""
        return await attesting.attest(ref)

    @router.get("/versions/{ref:path}/signature")
    async def get_signature(_: Reader, ref: str) -> Response:
        """The signature's file that the version was published with, byte by byte."""
        return Response(await attesting.published_signature(ref), media_type="application/octet-stream")

    @router.post("/models/{model}/signature-checks")
    async def check_signature(
        request: Request, by: Promoter, model: str, wanted: Annotated[SignatureCheck, Depends(body(SignatureCheck))]
    ) -> Json:
        """Judge a version's signature again, by the keys and roots that are trusted now, and keep the outcome."""
        return await reads.version(await checks.check(model_name(model), wanted, by, cause_of(request)))
