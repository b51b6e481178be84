"""What a model's entries add up to: its rows, keyed as people name them. Plain values, no database ids. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from muniment.ports.blobs import Location
from muniment.registry.rebuilding.entries import Entry

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """Rows that an entry tells by their count and digest alone, and the columns that are the same in all of them.

    No digest: an entry from before entries told one.
    """

    count: int
    sha256: str | None
    common: Row


MAX_PROBLEMS: Final = 100
"""Problems that a model's history keeps: after the first few the rest mostly follows from them."""


@dataclass(slots=True)
class History:
    """One model: its rows by table, what the log tells that does not fit, and actions that nobody could apply."""

    name: str
    created: Entry | None = None
    versions: dict[int, Row] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    """Numbers of versions by id."""
    branches: dict[str, Row] = field(default_factory=dict)
    branch_moves: list[Row] = field(default_factory=list)
    pointers: dict[str, Row] = field(default_factory=dict)
    pointer_moves: list[Row] = field(default_factory=list)
    releases: dict[str, Row] = field(default_factory=dict)
    tombstones: dict[int, Row] = field(default_factory=dict)
    reproductions: dict[int, Row] = field(default_factory=dict)
    signatures: list[Row] = field(default_factory=list)
    contract: Row | None = None
    approvals: list[Row] = field(default_factory=list)
    checks: list[Row] = field(default_factory=list)
    deployments: list[Row] = field(default_factory=list)
    batches: list[Row] = field(default_factory=list)
    """Uploads of measurements."""
    points: list[tuple[str, list[str | None]]] = field(default_factory=list)
    """Measurements that their entries hold, by batch, as `told_rows.measurement_cells`. Taken away as they are kept."""
    digested: dict[str, Told] = field(default_factory=dict)
    """Batches whose measurements their entries tell by digest alone."""
    units: dict[str, str] = field(default_factory=dict)
    candidates: dict[str, Row] = field(default_factory=dict)
    repaired: dict[str, dict[str, Location]] = field(default_factory=dict)
    """Where repairs have put files, by holder (`versions/3`, `releases/1.2.0`) and path."""
    replaced: dict[Location, Location] = field(default_factory=dict)
    """What repairs have put in the place of damaged objects: of files too many for an entry to name each."""
    unknown: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def number(self, version_id: str | None, entry: Entry) -> int | None:
        """The number of a version that an entry names by its id."""
        if version_id is None:
            return None
        if version_id not in self.numbers:
            self.problem(entry, f"names {version_id}, which no entry before it has committed")
        return self.numbers.get(version_id)

    def problem(self, entry: Entry, what: str) -> None:
        """Keep what does not fit: a gap in the log, or an entry that says too little."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"entry {entry.index} ({entry.action} of {entry.resource}) {what}")

    def move_branch(self, name: str, before: str | None, after: str, entry: Entry, reason: str | None) -> None:
        """Put a branch's head on a version; a branch that is not there yet begins so."""
        to_number, from_number = self.number(after, entry), self.number(before, entry)
        if to_number is None:
            return
        branch = self.branches.setdefault(name, new_branch(entry))
        if branch["head_number"] != from_number and branch["head_number"] is not None:
            self.problem(
                entry, f"moves {name} from number {from_number}, but its head was number {branch['head_number']}"
            )
        branch["head_number"] = to_number
        self.branch_moves.append({"branch": name, **_move(entry, from_number, to_number, reason)})

    def move_pointer(self, name: str, before: str | None, after: str | None, entry: Entry, verb: str) -> None:
        """Put a pointer on a version, or take it away."""
        to_number, from_number = self.number(after, entry), self.number(before, entry)
        pointer = self.pointers.get(name)
        at = pointer["number"] if pointer else None
        if at != from_number:
            self.problem(entry, f"moves {name} from number {from_number}, but it was on number {at}")
        self.pointer_moves.append({"name": name, "verb": verb, **_move(entry, from_number, to_number, entry.reason)})
        if to_number is None:
            self.pointers.pop(name, None)
            return
        if pointer is None:
            pointer = {"created_at": entry.at, "created_by": entry.operator, "revision": 0}
        moved = {"number": to_number, "moved_at": entry.at, "moved_by": entry.operator}
        self.pointers[name] = {**pointer, **moved, "revision": pointer["revision"] + 1}


def new_branch(entry: Entry) -> Row:
    """A branch that an entry begins, without a head yet."""
    return {
        "head_number": None,
        "created_at": entry.at,
        "created_by": entry.operator,
        "closed_at": None,
        "closed_by": None,
        "protected": False,
    }


def _move(entry: Entry, from_number: int | None, to_number: int | None, reason: str | None) -> Row:
    return {
        "from_number": from_number,
        "to_number": to_number,
        "moved_at": entry.at,
        "operator": entry.operator,
        "cause": entry.cause,
        "reason": reason,
    }
