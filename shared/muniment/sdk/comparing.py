"""Calls that compare versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode

from muniment.sdk.calls import parsed
from muniment.sdk.exchange import Call, Request, ask_json, request

_READING_S: Final = 600.0
"""How much longer than another answer a comparison of tensors may take: the server reads both versions first."""


def comparing(refs: Sequence[str], *, only_changed: bool) -> Call[Any]:
    """Two to six versions by their manifests."""
    query = [("ref", str(parsed(ref))) for ref in refs] + [("only_changed", str(only_changed).lower())]
    return (yield from ask_json(Request("registry", "GET", f"/api/v1/compare?{urlencode(query)}")))


def differing(old: str, new: str, *, tensors: bool, only_changed: bool) -> Call[Any]:
    """Two versions by their manifests and their tensors."""
    query = {"from": parsed(old), "to": parsed(new), "tensors": tensors, "only_changed": only_changed}
    wait = _READING_S if tensors else 0.0
    return (yield from ask_json(request("registry", "GET", "/diff", query=query, wait=wait)))
