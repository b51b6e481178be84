"""What both clients offer of a model's history: one method each, driven by the client's own `_run`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, TypedDict, TypeVar, Unpack

from muniment.sdk import history
from muniment.sdk.exchange import Call, Listing
from muniment.sdk.records import plain

T = TypeVar("T")
Json = dict[str, Any]


class BisectRule(TypedDict, total=False):
    """When the metric is bad: just one of `drop`, `rise` (from the good version's), `below`, `above` (themselves)."""

    drop: float
    rise: float
    below: float
    above: float
    slice: str
    dataset: str


class HistoryClient:
    """Graph, blame, bisect, blocking. Every method raises what the server answers with."""

    @abstractmethod
    def _run(self, call: Call[T]) -> T: ...

    @abstractmethod
    def _each(self, listing: Listing, of: Callable[[Any], T]) -> Iterator[T]: ...

    def graph(self, model: str, *, ref: str | None = None) -> Iterator[Json]:
        """A model's versions with their `edges`, newest first; with `ref` those that lead to it."""
        return self._each(history.graph(model, ref), plain)

    def blame(self, ref: str, *, fields: str = "*", tensors: bool = False, whole_graph: bool = False) -> Json:
        """For each field that fits the pattern (and each tensor): the version that last changed it.

        Along the first parents, unless `whole_graph`.
        """
        return self._run(history.blame(ref, fields, tensors, whole_graph))

    def bisect(self, good: str, bad: str, *, metric: str, **rule: Unpack[BisectRule]) -> Json:
        """The first version that is bad by stored metrics, and why: `bisect(g, b, metric="accuracy", drop=0.02)`.

        Raises `Conflict` (`bisect_good_is_bad`, `bisect_bad_is_good`, `bisect_metric_missing`).
        """
        return self._run(history.bisect(good, bad, metric, **_whole(rule)))

    def bisect_step(
        self,
        model: str,
        *,
        good: Iterable[str],
        bad: str,
        known_bad: Iterable[str] = (),
        skipped: Iterable[str] = (),
        metric: str | None = None,
    ) -> Json:
        """What to test `next`, or `first_bad` and why, from what was found out so far.

        `known_bad`: what was called bad before `bad`; together with the good ones it tells which edges regressed.
        """
        return self._run(history.bisect_step(model, good, bad, known_bad, skipped, metric))


class AsyncHistoryClient:
    """The methods of `HistoryClient` as coroutines and asynchronous iterators, described there."""

    @abstractmethod
    async def _run(self, call: Call[T]) -> T: ...

    @abstractmethod
    def _each(self, listing: Listing, of: Callable[[Any], T]) -> AsyncIterator[T]: ...

    def graph(self, model: str, *, ref: str | None = None) -> AsyncIterator[Json]:
        return self._each(history.graph(model, ref), plain)

    async def blame(self, ref: str, *, fields: str = "*", tensors: bool = False, whole_graph: bool = False) -> Json:
        return await self._run(history.blame(ref, fields, tensors, whole_graph))

    async def bisect(self, good: str, bad: str, *, metric: str, **rule: Unpack[BisectRule]) -> Json:
        return await self._run(history.bisect(good, bad, metric, **_whole(rule)))

    async def bisect_step(
        self,
        model: str,
        *,
        good: Iterable[str],
        bad: str,
        known_bad: Iterable[str] = (),
        skipped: Iterable[str] = (),
        metric: str | None = None,
    ) -> Json:
        return await self._run(history.bisect_step(model, good, bad, known_bad, skipped, metric))


def _whole(rule: BisectRule) -> dict[str, Any]:
    return {name: rule.get(name) for name in ("drop", "rise", "below", "above", "slice", "dataset")}
