"""An audit entry as the rebuild reads it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from muniment.registry.long_values import joined

RECEIVED: Final = "lineage.received"
"""What a run elsewhere has read and written: edges of no model."""
NO_MODEL: Final = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a model: what was done to what, by whom, when, for which cause, and what changed (path -> sides)."""

    index: int
    action: str
    resource: str
    model: str
    operator: str
    authenticated_by: str
    correlation: str | None
    at: datetime
    reason: str | None
    cause: str
    changes: tuple[dict[str, Any], ...]

    def after(self, path: str) -> Any:
        """What a field was changed to; None where the entry does not say. A long value may be its digest."""
        return next((change.get("after") for change in self.changes if change["path"] == path), None)

    def says(self, path: str) -> bool:
        """Whether the entry tells of this field."""
        return any(change["path"] == path for change in self.changes)

    def below(self, folder: str) -> Iterator[tuple[str, Any, Any]]:
        """The name, and both sides, of each change whose path is `folder/NAME`."""
        for path, before, after in self.sides():
            if path.startswith(f"{folder}/"):
                yield path.removeprefix(f"{folder}/"), before, after

    def sides(self) -> Iterator[tuple[str, Any, Any]]:
        """The path and both sides of each change."""
        for change in self.changes:
            yield change["path"], change.get("before"), change.get("after")

    def name(self, folder: str) -> str:
        """The last part of a resource such as `models/digits/branches/exp/a`: `exp/a` for the folder `branches`."""
        return self.resource.partition(f"/{folder}/")[2]


def read_entry(index: int, entry: Mapping[str, Any]) -> Entry | None:
    """An entry of the log, or None if it changed nothing that is rebuilt: refused, of another service, of no model.

    Of no model, but read all the same, with `NO_MODEL`, are the entries of runs elsewhere (`RECEIVED`).
    """
    if entry["service"] != "registry" or entry["outcome"] != "done":
        return None
    if "model" not in entry and entry["action"] != RECEIVED:
        return None
    cause = entry["cause"]
    return Entry(
        index=index,
        action=entry["action"],
        resource=entry["resource"],
        model=entry.get("model", NO_MODEL),
        operator=entry["operator"],
        authenticated_by=entry["authenticated_by"],
        correlation=entry.get("correlation"),
        at=datetime.fromisoformat(entry["event_time"]),
        reason=entry.get("reason"),
        cause=f"{cause['kind']} {cause['id']}",
        changes=tuple(joined(entry.get("changes", ()))),
    )
