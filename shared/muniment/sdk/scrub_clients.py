"""What both clients can do with the scrubber (`scrubbing`)."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from muniment.sdk.exchange import Call, Listing
from muniment.sdk.records import plain

if TYPE_CHECKING:
    from muniment.sdk.transfer.progress import OnProgress
    from muniment.sdk.workshop import Workshop

T = TypeVar("T")
Json = dict[str, Any]


class ScrubClient:
    """Blocking. Every method raises what the server answers with."""

    @abstractmethod
    def _run(self, call: Call[T]) -> T: ...

    @abstractmethod
    def _each(self, listing: Listing, of: Callable[[Any], T]) -> Iterator[T]: ...

    @abstractmethod
    def _shop(self) -> Workshop: ...

    def scrub_status(self) -> Json:
        """What the scrubber reads, how fast, how old the oldest reading is, what is damaged, and the latest passes."""
        from muniment.sdk.scrubbing import status

        return self._run(status())

    def damages(self, *, model: str | None = None) -> Iterator[Json]:
        """Damaged objects: `code`, `expected`, `actual`, and the `files` of versions and releases that hold them."""
        from muniment.sdk.scrubbing import damages

        return self._each(damages(model), plain)

    def scrub(self, *, model: str | None = None, on_progress: OnProgress | None = None) -> Json:
        """Have all committed bytes (of a model) read now, and wait for the end; it goes on if nobody waits.

        `damaged_objects` of the answer counts what is damaged. Raises `Conflict` (`scrub_runs_open`).
        """
        from muniment.sdk.scrubbing import scrubbing

        return self._run(scrubbing(model, on_progress))

    def repair(
        self, ref: str, path: str, source: str | os.PathLike[str], *, on_progress: OnProgress | None = None
    ) -> Json:
        """Put a damaged file's bytes back from a local file with its digest; answers the file and its new place.

        Raises `Conflict` (`file_not_damaged`) and `Rejected` (`digest_mismatch`).
        """
        from muniment.sdk.scrubbing import repairing

        return self._run(repairing(self._shop(), ref, path, source, on_progress))


class AsyncScrubClient:
    """The same for asyncio; the docstrings of `ScrubClient` hold."""

    @abstractmethod
    async def _run(self, call: Call[T]) -> T: ...

    @abstractmethod
    def _each(self, listing: Listing, of: Callable[[Any], T]) -> AsyncIterator[T]: ...

    @abstractmethod
    def _shop(self) -> Workshop: ...

    async def scrub_status(self) -> Json:
        from muniment.sdk.scrubbing import status

        return await self._run(status())

    def damages(self, *, model: str | None = None) -> AsyncIterator[Json]:
        from muniment.sdk.scrubbing import damages

        return self._each(damages(model), plain)

    async def scrub(self, *, model: str | None = None, on_progress: OnProgress | None = None) -> Json:
        from muniment.sdk.scrubbing import scrubbing

        return await self._run(scrubbing(model, on_progress))

    async def repair(
        self, ref: str, path: str, source: str | os.PathLike[str], *, on_progress: OnProgress | None = None
    ) -> Json:
        from muniment.sdk.scrubbing import repairing

        return await self._run(repairing(self._shop(), ref, path, source, on_progress))
