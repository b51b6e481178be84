"""A small cache in front of a lookup: bounded, short-lived, and one question at a time for one key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lookups(Generic[K, V]):
    """Answers of `ask`, kept for `found_s` seconds (`missing_s` where the answer was None), at most `size` of each.

    Callers that miss the same key at the same time share one question, so a hot key costs one question every
    `found_s`, however many requests carry it. Found and missing answers are kept apart: a flood of made-up keys
    pushes out made-up keys alone. What is asked for again and again still ages: nothing outlives its seconds.
    """

    def __init__(
        self,
        ask: Callable[[K], Awaitable[V | None]],
        monotonic: Callable[[], float],
        *,
        size: int = 10_000,
        found_s: float = 5.0,
        missing_s: float = 1.0,
    ) -> None:
        self._ask = ask
        self._monotonic = monotonic
        self._size = size
        self._found_s = found_s
        self._missing_s = missing_s
        self._found: dict[K, tuple[V, float]] = {}
        self._missing: dict[K, float] = {}
        self._asking: dict[K, asyncio.Task[V | None]] = {}

    def kept(self, key: K) -> V | None:
        """The found answer that is still fresh, if there is one. Never waits."""
        entry = self._found.get(key)
        return entry[0] if entry is not None and self._monotonic() < entry[1] else None

    async def get(self, key: K) -> V | None:
        """The answer, fresh or asked for now. Raises what `ask` raises; errors are not kept."""
        if (value := self.kept(key)) is not None:
            return value
        if self._monotonic() < self._missing.get(key, 0.0):
            return None
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(self._fill(key))
            self._asking[key] = task
            task.add_done_callback(lambda done: self._asked(key, done))
        # Shielded: a caller that goes away must not take the answer from the others.
        return await asyncio.shield(task)

    def forget(self, key: K) -> None:
        """Ask anew next time; a question under way answers those who already wait, and is not kept."""
        self._found.pop(key, None)
        self._missing.pop(key, None)
        self._asking.pop(key, None)

    async def _fill(self, key: K) -> V | None:
        value = await self._ask(key)
        if self._asking.get(key) is asyncio.current_task():
            now = self._monotonic()
            if value is None:
                _keep(self._missing, key, now + self._missing_s, self._size)
            else:
                _keep(self._found, key, (value, now + self._found_s), self._size)
        return value

    def _asked(self, key: K, task: asyncio.Task[V | None]) -> None:
        if self._asking.get(key) is task:
            del self._asking[key]
        if not task.cancelled():
            task.exception()  # marks it as seen, should every caller have gone


T = TypeVar("T")


def _keep(entries: dict[K, T], key: K, value: T, size: int) -> None:
    entries.pop(key, None)
    if len(entries) >= size:
        del entries[next(iter(entries))]  # dicts keep their order: the first is the oldest
    entries[key] = value
