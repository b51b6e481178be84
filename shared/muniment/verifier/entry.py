"""What an audit entry itself promises: one entry for each event, and times that do not go back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from muniment.verifier.errors import EntryError
from muniment.verifier.repeats import Repeats
from muniment.verifier.report import Finding


def parse_entry(data: bytes) -> dict[str, Any]:
    """An entry's JSON object. Raises `EntryError`."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise EntryError("entry_malformed", "the entry is not JSON", actual=repr(data[:80])) from error
    if not isinstance(value, dict):
        raise EntryError("entry_malformed", "the entry is no JSON object", actual=repr(data[:80]))
    return value


@dataclass(slots=True)
class EntryChecks:
    """Looks at entries in their order. A form that it does not know is counted, not refused: the tree proves bytes."""

    repeats: Repeats
    other_form: int = 0
    findings: list[Finding] = field(default_factory=list)
    _latest: datetime | None = None

    def look(self, index: int, data: bytes) -> None:
        """Take the entry at `index`."""
        try:
            entry = parse_entry(data)
            event_id, log_time = entry["event_id"], datetime.fromisoformat(entry["log_time"])
            earlier = self._latest is not None and log_time < self._latest
        except (EntryError, KeyError, TypeError, ValueError):
            self.other_form += 1
            return
        if isinstance(event_id, str):
            self.repeats.add(event_id, index)
        if earlier and not self.findings:
            self.findings.append(
                Finding(
                    "entries",
                    index,
                    "log_time_went_back",
                    "the entry says that it was logged before the entry in front of it",
                    expected=f">= {self._latest}",
                    actual=str(log_time),
                )
            )
        self._latest = log_time

    def result(self) -> list[Finding]:
        """What was found in all entries."""
        repeated = self.repeats.first()
        if repeated is None:
            return self.findings
        index, before = repeated
        message = f"the entry has the event id of entry {before}: one event has two entries"
        return [*self.findings, Finding("entries", index, "event_id_repeated", message, actual=f"{before} and {index}")]


@contextmanager
def entry_checks() -> Iterator[EntryChecks]:
    """Checks for one log; their files go with the block."""
    with Repeats() as repeats:
        yield EntryChecks(repeats)


@dataclass(frozen=True, slots=True)
class CommittedManifest:
    """What an entry says of a manifest in the object store. `bucket` or `version_id` None: an early entry, unsaid."""

    index: int
    bucket: str | None
    key: str
    version_id: str | None
    sha256: str


def committed_manifest(index: int, data: bytes) -> CommittedManifest | None:
    """The manifest that an entry about a new version or release names; None if it is about something else."""
    try:
        entry = parse_entry(data)
        if entry.get("outcome", "done") != "done":
            return None
        kind = {"version.committed": "version", "release.published": "release"}.get(entry["action"])
        after: dict[str, Any] = {one["path"]: one.get("after") for one in entry["changes"]} if kind else {}
        if kind is None or kind not in after:
            return None
        sha256 = str(after[kind]).removeprefix("sha256:")
        manifest = after.get("manifest")
        place: Mapping[str, Any] = manifest if isinstance(manifest, dict) else {}
        key = place.get("key") or f"manifests/{entry['model']}/{sha256}.json"
        return CommittedManifest(index, place.get("bucket"), str(key), place.get("version_id"), sha256)
    except (EntryError, KeyError, TypeError, AttributeError):
        return None
