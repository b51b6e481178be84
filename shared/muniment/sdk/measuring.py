"""Sending evaluations and observations: any number of them, in batches that the server takes, each repeatable."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, Literal, TypedDict
from urllib.parse import quote, urlencode

from muniment.contracts.errors import Rejected
from muniment.sdk.calls import parsed
from muniment.sdk.exchange import Call, Listing, Request, ask_json

Kind = Literal["evaluation", "observation"]
Given = Mapping[str, float] | Iterable[Mapping[str, Any]]
"""Values by metric, or one mapping for each value: `metric`, `value`, and `unit`, `dataset`, `slice`, `at` as known."""

MAX_POINTS: Final = 100_000
MAX_BYTES: Final = 30 * 1024 * 1024


class MeasureOptions(TypedDict, total=False):
    """What holds for each value that does not say otherwise, all of it optional."""

    dataset: str | None
    slice: str | None
    unit: str | None
    at: str | datetime | None
    """RFC 3339 text, or a datetime with its zone; by default the time of recording."""
    idempotency_key: str | None
    """The same key with the same values adds nothing. By default each call adds."""
    on_progress: Callable[[int], None] | None
    """Told how many values are recorded so far."""


def measuring(kind: Kind, ref: str, given: Given, options: MeasureOptions) -> Call[dict[str, Any]]:
    """Record values of the version that `ref` names.

    Returns `model`, `number`, `id`, `kind`, `count`, `repeated` (whether all was there before), `batches` (one for
    each request: 100,000 values at most) and `divergences`, the tolerances of the baseline that were broken or held
    again. A batch is recorded as a whole or not at all. Raises what the server refuses, with the row of the batch.
    """
    wanted = parsed(ref)
    key = options.get("idempotency_key") or uuid.uuid4().hex
    told = options.get("on_progress")
    answers: list[dict[str, Any]] = []
    name = str(wanted)
    for place, lines in enumerate(_batches(_points(given, options))):
        answer = yield from ask_json(_request(kind, wanted.model, name, lines, f"{key}-{place}"))
        answers.append(answer)
        name = f"{answer['model']}/{answer['number']}"  # all batches go to one version, wherever the name moves
        if told:
            told(sum(one["count"] for one in answers))
    if not answers:
        raise Rejected("measurements_empty", "no measurement is given", expected="one or more", actual=0)
    first = answers[0]
    return {
        **{field: first[field] for field in ("model", "number", "id", "kind")},
        "count": sum(answer["count"] for answer in answers),
        "repeated": all(answer["repeated"] for answer in answers),
        "batches": [answer["batch"] for answer in answers],
        "divergences": [one for answer in answers for one in answer["divergences"]],
    }


def series(
    model: str, metric: str, dataset: str | None, slice_: str | None, over: Literal["versions", "time"], ref: str | None
) -> Listing:
    """A metric over versions, or the observations of one version over time."""
    query = {"metric": metric, "dataset": dataset, "slice": slice_, "over": over, "ref": ref and str(parsed(ref))}
    return Listing("registry", f"/models/{quote(model, safe='')}/series", query)


def divergences(model: str, state: Literal["holding", "broken"] | None) -> Listing:
    """How the baseline's tolerances stand."""
    return Listing("registry", f"/models/{quote(model, safe='')}/divergences", {"state": state})


def _request(kind: Kind, model: str, ref: str, lines: bytes, key: str) -> Request:
    target = f"/api/v1/models/{quote(model, safe='')}/{kind}s?{urlencode({'ref': ref})}"
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": key}
    return Request("registry", "POST", target, lines, headers)


def _points(given: Given, options: MeasureOptions) -> Iterator[dict[str, Any]]:
    at = options.get("at")
    if isinstance(at, datetime):
        at = at.isoformat()
    common = {name: options.get(name) for name in ("unit", "dataset", "slice")} | {"at": at}
    common = {name: value for name, value in common.items() if value is not None}
    if isinstance(given, Mapping):
        given = [{"metric": name, "value": value} for name, value in given.items()]
    for point in given:
        yield {**common, **{name: value for name, value in point.items() if value is not None}}


def _batches(points: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """The points as lines of JSON, in pieces that one request may carry."""
    lines: list[bytes] = []
    size = 0
    for row, point in enumerate(points, 1):
        line = _line(point, row)
        if len(lines) == MAX_POINTS or size + len(line) > MAX_BYTES:
            yield b"".join(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield b"".join(lines)


def _line(point: Mapping[str, Any], row: int) -> bytes:
    try:
        return json.dumps(point, ensure_ascii=False, allow_nan=False, default=_plain).encode() + b"\n"
    except (AttributeError, TypeError, ValueError) as error:
        raise Rejected(
            "metric_value_invalid",
            f"row {row}: the value is no number that can be kept",
            expected="a finite number",
            actual=repr(point.get("value"))[:100],
        ) from error


def _plain(value: Any) -> Any:
    """What NumPy and PyTorch scalars, and datetimes, are in JSON."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value.item()
