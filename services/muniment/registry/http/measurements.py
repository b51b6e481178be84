"""Routes of evaluations, observations, series and divergences."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.requests import ClientDisconnect

from muniment.contracts import strict_json
from muniment.contracts.errors import Rejected
from muniment.contracts.ids import model_name
from muniment.registry.http.parameters import Json, Paged, Reader, Writer
from muniment.registry.measured import Measurements
from muniment.registry.measurements import (
    MAX_BYTES,
    MAX_LINE,
    MAX_POINTS,
    Kind,
    Lines,
    Point,
    Upload,
    check_count,
    point_of,
)
from muniment.registry.measuring import Measuring
from muniment.registry.tolerances import Measured
from muniment.runtime.http.requests import BODY_TIMEOUT_S, cause_of, idempotency_key, read_body, too_large

NDJSON: Final = "application/x-ndjson"
_LINES_AT_ONCE: Final = 1000

_POINT: Final = {
    "type": "object",
    "required": ["metric", "value"],
    "additionalProperties": False,
    "properties": {
        "metric": {"type": "string"},
        "value": {"type": "number"},
        "unit": {"type": "string"},
        "dataset": {"type": "string"},
        "slice": {"type": "string"},
        "at": {"type": "string", "format": "date-time"},
    },
}
_BODY: Final[dict[str, Any]] = {
    "x-max-body-bytes": MAX_BYTES,
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["ref", "measurements"],
                    "additionalProperties": False,
                    "properties": {"ref": {"type": "string"}, "measurements": {"type": "array", "items": _POINT}},
                }
            },
            NDJSON: {"schema": _POINT},
        },
    },
}

Metric = Annotated[str, Query(max_length=256)]
Named = Annotated[str | None, Query(max_length=256)]
Ref = Annotated[str, Query(max_length=300)]


async def upload_of(request: Request, ref: Annotated[str | None, Query(max_length=300)] = None) -> Upload:
    """The measurements that a request carries.

    JSON (up to 1 MiB): `{"ref": ..., "measurements": [...]}`. Newline-delimited JSON (up to `MAX_BYTES` and
    `MAX_POINTS`): a measurement a line, `ref` in the query; lines are read as they come, the body is never held whole.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == NDJSON:
        if ref is None:
            raise Rejected("ref_missing", "the reference is not given", expected="?ref=MODEL/NUMBER")
        return await _read_lines(request, ref)
    raw = await read_body(request, strict_json.MAX_BYTES)
    value = strict_json.loads(raw)
    rows = value.get("measurements") if isinstance(value, dict) else None
    if not isinstance(rows, list) or value.keys() != {"ref", "measurements"} or not isinstance(value["ref"], str):
        raise Rejected(
            "measurements_invalid", "the body is not understood", expected='{"ref": ..., "measurements": []}'
        )
    check_count(len(rows))
    return Upload(value["ref"], [point_of(item, row) for row, item in enumerate(rows, 1)], _sha256(raw))


async def _read_lines(request: Request, ref: str) -> Upload:
    points: list[Point] = []
    read = Lines()
    digest = hashlib.sha256()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for line in _lines(request, digest):
                points.append(read.point(line))
                if len(points) > MAX_POINTS:
                    check_count(len(points))
                if len(points) % _LINES_AT_ONCE == 0:
                    await asyncio.sleep(0)  # others have their turn: a large body takes a second to understand
    except TimeoutError as error:
        raise Rejected(
            "body_too_slow", "the body did not arrive in time", expected=f"within {BODY_TIMEOUT_S:.0f} s"
        ) from error
    except ClientDisconnect as error:
        raise Rejected("body_cut_off", "the connection ended before the body did") from error
    return Upload(ref, points, digest.hexdigest())


async def _lines(request: Request, digest: Any) -> AsyncIterator[bytes]:
    """The lines of the body that hold something, however the body is cut into pieces."""
    rest = b""
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > MAX_BYTES:
            raise too_large(MAX_BYTES, f"> {MAX_BYTES}")
        digest.update(piece)
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line := line.strip():
                yield line
        if len(rest) > MAX_LINE:
            raise Rejected("line_too_long", "a line is too long", expected=f"<= {MAX_LINE} B", actual=f"{len(rest)} B")
    if rest := rest.strip():
        yield rest


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def add_measurements(router: APIRouter, measuring: Measuring, measurements: Measurements) -> None:
    """Records, lists, series."""

    async def record(request: Request, by: Writer, model: str, kind: Kind, upload: Upload) -> Json:
        key = await idempotency_key(request)
        return await measuring.record(model_name(model), kind, upload, key, by, cause_of(request))

    @router.post("/models/{model}/evaluations", status_code=201, openapi_extra=_BODY)
    async def evaluate(request: Request, by: Writer, model: str, upload: Annotated[Upload, Depends(upload_of)]) -> Json:
        """Append evaluations of a version: what was measured on purpose. They count for promotion."""
        return await record(request, by, model, "evaluation", upload)

    @router.post("/models/{model}/observations", status_code=201, openapi_extra=_BODY)
    async def observe(request: Request, by: Writer, model: str, upload: Annotated[Upload, Depends(upload_of)]) -> Json:
        """Append observations of a version: what was seen in production."""
        return await record(request, by, model, "observation", upload)

    @router.get("/measurements")
    async def list_measurements(
        _: Reader,
        page: Paged,
        ref: Ref,
        kind: Literal["evaluation", "observation"] | None = None,
        metric: Named = None,
        dataset: Named = None,
        slice: Named = None,  # noqa: A002  # reason: the word that the surface uses
    ) -> Json:
        """A version's measurements, those recorded last first."""
        return await measurements.all_of(ref, kind, metric, dataset, slice, page)

    @router.get("/models/{model}/series")
    async def get_series(
        _: Reader,
        page: Paged,
        model: str,
        metric: Metric,
        dataset: Named = None,
        slice: Named = None,  # noqa: A002  # reason: the word that the surface uses
        over: Literal["versions", "time"] = "versions",
        ref: Annotated[str | None, Query(max_length=300)] = None,
    ) -> Json:
        """A metric over versions (newest evaluation, or the manifest's), or observations of one version over time.

        Over time `ref` names the version, by default the baseline.
        """
        name, of = model_name(model), Measured(metric, dataset, slice)
        if over == "versions":
            return await measurements.over_versions(name, of, page)
        return await measurements.over_time(name, ref or name, of, page)

    @router.get("/models/{model}/divergences")
    async def list_divergences(
        _: Reader, page: Paged, model: str, state: Literal["holding", "broken"] | None = None
    ) -> Json:
        """How the baseline's tolerances stand, and since when those that are broken are."""
        return await measurements.divergences(model_name(model), state, page)
