"""Requests that wait for a publication, and what wakes them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from muniment.ingest.records import Publication
from muniment.ingest.stages import SETTLED
from muniment.ingest.store import Store

_POLL_S: Final = 1.0
"""How soon a change that another process made is seen."""


@dataclass(slots=True)
class Waiters:
    """The requests of this process that wait, by publication."""

    woken: int = 0
    """How many changes this process has made."""
    _waiting: dict[str, set[asyncio.Event]] = field(default_factory=dict)

    def wake(self, publication_ids: Iterable[str]) -> None:
        """These have changed: the transaction has committed."""
        for publication_id in publication_ids:
            self.woken += 1
            for changed in self._waiting.get(publication_id, ()):
                changed.set()

    def watched(self, publication_id: str) -> bool:
        """Whether somebody waits for it."""
        return publication_id in self._waiting

    @contextmanager
    def watch(self, publication_id: str) -> Iterator[asyncio.Event]:
        """An event that every change sets while the block runs."""
        changed = asyncio.Event()
        self._waiting.setdefault(publication_id, set()).add(changed)
        try:
            yield changed
        finally:
            watching = self._waiting[publication_id]
            watching.discard(changed)
            if not watching:
                del self._waiting[publication_id]


async def settled(store: Store, waiters: Waiters, publication_id: str, *, wait_s: float) -> Publication | None:
    """The publication once nothing more happens to it by itself, or as it is after `wait_s` seconds.

    Between two looks no connection is held.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + wait_s
    with waiters.watch(publication_id) as changed:  # before the first look, so that no change falls in between
        while True:
            changed.clear()
            publication = await store.publication(publication_id)
            left = deadline - clock()
            if publication is None or publication.stage in SETTLED or left <= 0:
                return publication
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_POLL_S, left)):
                    await changed.wait()
