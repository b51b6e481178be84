"""The tracks, read once and again when they are older than a few seconds: they change rarely and only grow stricter."""

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

    async def all(self) -> Mapping[str, Track]:
        """Every track by name."""
        now = asyncio.get_running_loop().time()
        if not self._tracks or now - self._read_at > _FRESH_S:
            self._tracks = await prepare_tracks(self.pool, self.settings)
            self._read_at = now
        return self._tracks
