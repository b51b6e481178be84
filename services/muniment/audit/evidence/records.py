"""The pack's lists for programs, a JSON object a line: what was committed, and what was deployed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from muniment.audit.evidence.report import COMMITS, DEPLOYED
from muniment.contracts.canonical import canonical_json


def version_line(index: int, entry: Mapping[str, Any], manifest: str | None) -> bytes | None:
    """A version or release that the entry committed, and where in the pack its manifest is; None of other entries."""
    if entry["action"] not in COMMITS or entry.get("outcome", "done") != "done":
        return None
    return _line({"index": index, "id": committed_id(entry), "resource": entry["resource"], "manifest": manifest})


def deployment_line(index: int, entry: Mapping[str, Any]) -> bytes | None:
    """A report of a deployment, as the entry has it; None of other entries."""
    if entry["action"] != DEPLOYED or entry.get("outcome", "done") != "done":
        return None
    said = {one["path"]: one.get("after") for one in entry["changes"]}
    return _line({"index": index, "resource": entry["resource"], "time": entry.get("event_time"), "said": said})


def committed_id(entry: Mapping[str, Any]) -> str | None:
    """The id (`sha256:` and hex) that an entry of `COMMITS` gave its version or release."""
    kind = "version" if entry["action"] == "version.committed" else "release"
    found = next((one.get("after") for one in entry["changes"] if one["path"] == kind), None)
    return found if isinstance(found, str) else None


def _line(value: Mapping[str, Any]) -> bytes:
    return canonical_json(value) + b"\n"
