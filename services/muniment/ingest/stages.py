"""The stages of a publication. Pure: what the later topics say is joined, in any order, to one outcome.

Every stage has a rank and a publication only ever rises, so events of several topics may arrive in any order. The
final stages share the highest rank: whichever is reached first stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from muniment.contracts.events import (
    ModelRejected,
    ModelValidated,
    RegistryChanged,
    ValidationProgressed,
    VersionAvailable,
)
from muniment.contracts.model import rfc3339

Stage = Literal["uploading", "trained", "validating", "candidate", "committed", "rejected", "abandoned"]

RANK: Final[dict[Stage, int]] = {
    "uploading": 0,
    "trained": 1,
    "validating": 2,
    "candidate": 3,
    "committed": 4,
    "rejected": 4,
    "abandoned": 4,
}
FINAL: Final = 4
SETTLED: Final[frozenset[Stage]] = frozenset({"candidate", "committed", "rejected", "abandoned"})
"""Nothing more happens to these by itself."""


@dataclass(frozen=True, slots=True)
class Advance:
    """What one event (or several, joined) says about a publication. `cause` is the id of the event."""

    publication_id: str
    stage: Stage
    cause: str
    version: dict[str, Any] | None = None
    rejection: dict[str, Any] | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None

    def joined(self, later: Advance) -> Advance:
        """Both as one: the higher stage with what belongs to it, and the furthest progress."""
        ahead = later if RANK[later.stage] > RANK[self.stage] else self
        return Advance(
            self.publication_id,
            ahead.stage,
            ahead.cause,
            ahead.version,
            ahead.rejection,
            _furthest(self.bytes_done, later.bytes_done),
            _furthest(self.bytes_total, later.bytes_total),
        )


def join(advances: Iterable[Advance]) -> list[Advance]:
    """One advance for each publication, sorted by publication: the order in which rows are locked."""
    joined: dict[str, Advance] = {}
    for advance in advances:
        known = joined.get(advance.publication_id)
        joined[advance.publication_id] = advance if known is None else known.joined(advance)
    return sorted(joined.values(), key=lambda advance: advance.publication_id)


def of_progress(event: ValidationProgressed, cause: str) -> Advance:
    """The validator is reading."""
    return Advance(
        event.publication_id, "validating", cause, bytes_done=event.bytes_done, bytes_total=event.bytes_total
    )


def of_validated(event: ModelValidated, cause: str) -> Advance:
    """Every byte was read; the registry's word is still to come."""
    total = sum(file.size for file in event.files)
    return Advance(event.publication_id, "validating", cause, bytes_done=total, bytes_total=total)


def of_rejected(event: ModelRejected, cause: str) -> Advance:
    """A service found it at fault."""
    return Advance(event.publication_id, "rejected", cause, rejection=rejection_of(event))


def of_available(event: VersionAvailable, cause: str) -> Advance:
    """It is a version."""
    version = {
        "id": event.id,
        "number": event.number,
        "branch": event.branch,
        "previous": event.previous,
        "stability": event.stability,
        "track": event.track,
        "operator": event.operator,
        "committed_at": rfc3339(event.committed_at),
    }
    return Advance(event.publication_id, "committed", cause, version=version)


def of_registry_change(event: RegistryChanged, cause: str) -> Advance | None:
    """What a change in the registry means for a publication; None for changes that mean nothing to one."""
    publication_id = event.publication_id
    if publication_id is None:
        return None
    if event.kind == "candidate-added":
        return Advance(publication_id, "candidate", cause)
    if event.kind == "candidate-refused":
        return Advance(publication_id, "rejected", cause, rejection=_refusal_of(event))
    if event.kind == "publication-matched":
        version = {"id": event.version, "number": event.number, "branch": event.branch}
        return Advance(publication_id, "committed", cause, version=version)
    return None


def rejection_of(event: ModelRejected) -> dict[str, Any]:
    """A rejection as the publication shows it."""
    return event.model_dump(mode="json", include={"stage", "code", "message", "expected", "actual", "file", "hint"})


def _refusal_of(event: RegistryChanged) -> dict[str, Any]:
    reasons = [change.after for change in event.changes if change.path == "reason" and change.after]
    return {
        "stage": "commit",
        "code": "candidate_refused",
        "message": f"{event.operator} refused the candidate" + (f": {reasons[0]}" if reasons else ""),
        "expected": None,
        "actual": None,
        "file": None,
        "hint": None,
    }


def _furthest(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else max(one, other)
