"""The tracks, read once and again when they are older than a few seconds: they change rarely.

A process that did not make a change itself may go by the rules before it for that long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from muniment.registry.domain import Track
from muniment.registry.store import prepare_tracks
from muniment.runtime.settings import RegistrySettings

_FRESH_S: Final = 10.0


@dataclass(slots=True)
class Tracks:
    """A short-lived copy of the table `track`."""

    pool: asyncpg.Pool[Any]
    settings: RegistrySettings
    _tracks: dict[str, Track] = field(default_factory=dict)
    _read_at: float = 0.0

    async def all(self, knowing: str | None = None) -> Mapping[str, Track]:
        """Every track by name; read again where none is called `knowing`: it may have been made elsewhere just now."""
        now = asyncio.get_running_loop().time()
        unknown = knowing is not None and knowing not in self._tracks
        if not self._tracks or unknown or now - self._read_at > _FRESH_S:
            self._tracks = await prepare_tracks(self.pool, self.settings)
            self._read_at = now
        return self._tracks

    def forget(self) -> None:
        """Read them again: one was changed here."""
        self._tracks = {}
