"""What a pack answers, and what stands at its beginning. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from muniment.contracts.canonical import canonical_json

FORMAT: Final = "muniment.evidence/v1"
MAX_ENTRIES: Final = 100_000
"""Entries of one pack at most."""
MAX_LEAVES: Final = 262_144
"""A pack about a longer range of indexes has no leaf hashes of it: they are 32 bytes for each entry of any model."""


@dataclass(frozen=True, slots=True)
class Question:
    """The model, and the log times between which its entries are wanted: `since` included, `until` not."""

    model: str
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Facts:
    """The pack's `pack.json`. `since` and `until` are RFC 3339 as asked, None for an open end.

    The entries between them are those of the model with `first` <= index < `end`; what the pack has from before
    `first` tells how things stood then. `size` and `root` are the checkpoint's.
    """

    model: str
    since: str | None
    until: str | None
    first: int
    end: int
    origin: str
    size: int
    root: str

    def text(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(
            {
                "format": FORMAT,
                "model": self.model,
                "from": self.since,
                "to": self.until,
                "first": self.first,
                "end": self.end,
                "origin": self.origin,
                "size": self.size,
                "root": self.root,
            }
        )
