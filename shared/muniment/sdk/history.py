"""Calls on a model's history: its graph, blame, bisect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from muniment.sdk.calls import parsed
from muniment.sdk.exchange import Call, Listing, ask_json, request


def graph(model: str, ref: str | None) -> Listing:
    """A model's versions with their edges, newest first."""
    place = f"/models/{quote(model, safe='')}/graph"
    return Listing("registry", place, {"ref": None if ref is None else str(parsed(ref))})


def blame(ref: str, fields: str | None, tensors: bool, whole_graph: bool) -> Call[Any]:
    """Which version last changed each field."""
    query = {
        "ref": str(parsed(ref)),
        "fields": fields,
        "tensors": tensors or None,
        "whole_graph": whole_graph or None,
    }
    return (yield from ask_json(request("registry", "GET", "/blame", query=query)))


def bisect(
    good: str,
    bad: str,
    metric: str,
    *,
    drop: float | None,
    rise: float | None,
    below: float | None,
    above: float | None,
    slice: str | None,  # noqa: A002  # reason: the word of tolerances
    dataset: str | None,
) -> Call[Any]:
    """The first bad version by stored metrics."""
    query = {
        "good": str(parsed(good)),
        "bad": str(parsed(bad)),
        "metric": metric,
        "drop": drop,
        "rise": rise,
        "below": below,
        "above": above,
        "slice": slice,
        "dataset": dataset,
    }
    return (yield from ask_json(request("registry", "GET", "/bisect", query=query)))


def bisect_step(
    model: str, good: Iterable[str], bad: str, known_bad: Iterable[str], skipped: Iterable[str], metric: str | None
) -> Call[Any]:
    """The next version to test. The server keeps nothing, so asking again is harmless."""
    body: dict[str, Any] = {
        "good": [str(parsed(ref)) for ref in good],
        "bad": str(parsed(bad)),
        "skipped": [str(parsed(ref)) for ref in skipped],
    }
    if bad_before := [str(parsed(ref)) for ref in known_bad]:
        body["known_bad"] = bad_before
    if metric is not None:
        body["metric"] = metric
    place = f"/models/{quote(model, safe='')}/bisect"
    return (yield from ask_json(request("registry", "POST", place, body=body, safe=True)))
