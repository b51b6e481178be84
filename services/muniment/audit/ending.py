"""The end of an old log, as the log that continues it is given it: `muniment audit close-log` writes the file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from muniment.audit.note import Checkpoint, VerifierKey, open_note
from muniment.contracts.errors import Misconfigured, MunimentError
from muniment.contracts.events import Change

_MAX_FILE: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Ending:
    """An old log's last checkpoint, whose signature was verified with the old log's own keys."""

    last: Checkpoint
    note: str
    keys: Sequence[str]

    def changes(self) -> list[Change]:
        """As the new log's first entry tells it."""
        said = {
            "origin": self.last.origin,
            "size": self.last.size,
            "root_hash": self.last.root.hex(),
            "checkpoint": self.note,
            "keys": list(self.keys),
        }
        return [Change(path=f"continues/{name}", after=value) for name, value in said.items()]


def read_ending(path: Path | None) -> Ending | None:
    """The ending that a setting names. Raises `Misconfigured` (`audit_ending_invalid`)."""
    if path is None:
        return None
    try:
        raw = path.read_bytes()
        value: Any = json.loads(raw) if len(raw) <= _MAX_FILE else None
        keys = [VerifierKey.parse(one) for one in value["keys"]]
        note = value["checkpoint"]
        return Ending(Checkpoint.parse(open_note(note.encode(), keys)), note, [one.vkey for one in keys])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, MunimentError) as error:
        raise Misconfigured(
            "audit_ending_invalid",
            f"{path} is not the end of an audit log: {error}",
            expected="the file that `muniment audit close-log` has written for the old log",
            hint="MUNIMENT_AUDIT__CONTINUES names it; leave it out for a log that continues none",
        ) from error
