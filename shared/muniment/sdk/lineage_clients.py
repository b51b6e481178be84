"""What both clients can do with lineage, deployments, deletion and collection (`lineage`)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, TypeVar

from muniment.sdk import lineage
from muniment.sdk.exchange import Call, Listing
from muniment.sdk.records import plain

T = TypeVar("T")
Json = dict[str, Any]


class LineageClient:
    """Lineage, deployments, deletion and collection, blocking. Every method raises what the server answers with."""

    @abstractmethod
    def _run(self, call: Call[T]) -> T: ...

    @abstractmethod
    def _each(self, listing: Listing, of: Callable[[Any], T]) -> Iterator[T]: ...

    def lineage(
        self,
        ref: str | None = None,
        *,
        dataset: str | None = None,
        code: str | None = None,
        direction: str = "both",
        depth: int | None = None,
        kinds: str | None = None,
        previous: bool = False,
        at: str | None = None,
    ) -> Json:
        """What a version, a dataset (NAME or NAME@DIGEST) or a commit came from, and what came of it: one of the three.

        The answer has `nodes` (`depth` is negative upstream), `edges` by the nodes' keys, and `cut`: there is more.
        """
        query = {"ref": ref, "dataset": dataset, "code": code, "direction": direction, "depth": depth, "kinds": kinds}
        return self._run(lineage.lineage(**query, previous=previous or None, at=at))

    def run_event(self, ref: str) -> Json:
        """A version as an OpenLineage RunEvent."""
        return self._run(lineage.run_event(ref))

    def send_run_event(self, event: Mapping[str, Any]) -> Json:
        """Give the registry an OpenLineage RunEvent of a run elsewhere."""
        return self._run(lineage.send_run_event(event))

    def report_deployment(
        self,
        ref: str,
        *,
        environment: str,
        deployer: str,
        state: str,
        at: str | None = None,
        url: str | None = None,
        details: str | None = None,
    ) -> Json:
        """Report where a version runs; `state` is started, running, failed or stopped."""
        fields = {"environment": environment, "deployer": deployer, "state": state}
        return self._run(lineage.report_deployment(ref, {**fields, "at": at, "url": url, "details": details}))

    def deployments(self, model: str | None = None, *, environment: str | None = None) -> Iterator[Json]:
        """Current deployments, of a model or everywhere (in an environment)."""
        return self._each(lineage.deployments(model, environment), plain)

    def delete_version(self, ref: str, *, reason: str) -> Json:
        """Delete a version. Raises `Conflict` (`version_needed`), whose `details` name what needs it."""
        return self._run(lineage.delete_version(ref, reason))

    def collect(self, *, dry_run: bool = True, after: int = 0, limit: int = 1000) -> Json:
        """Free bytes that nothing needs, or tell which; `next` of the answer is the `after` of the next call."""
        return self._run(lineage.collect({"dry_run": dry_run, "after": after, "limit": limit}))

    def sweep(self, *, dry_run: bool = True, page_token: str | None = None, limit: int = 1000) -> Json:
        """Free leftovers of uploads on one page of the bucket, or tell which; `next_page_token` is for the next."""
        return self._run(lineage.sweep(dry_run=dry_run, page_token=page_token, limit=limit))

    def collect_leftovers(self, *, dry_run: bool = True, page_token: str | None = None, limit: int = 1000) -> Json:
        """Free leftovers of refused versions and unmade releases on one page of one place, or tell which."""
        return self._run(lineage.collect_leftovers(dry_run=dry_run, page_token=page_token, limit=limit))


class AsyncLineageClient:
    """The same for asyncio; the docstrings of `LineageClient` hold."""

    @abstractmethod
    async def _run(self, call: Call[T]) -> T: ...

    @abstractmethod
    def _each(self, listing: Listing, of: Callable[[Any], T]) -> AsyncIterator[T]: ...

    async def lineage(
        self,
        ref: str | None = None,
        *,
        dataset: str | None = None,
        code: str | None = None,
        direction: str = "both",
        depth: int | None = None,
        kinds: str | None = None,
        previous: bool = False,
        at: str | None = None,
    ) -> Json:
        query = {"ref": ref, "dataset": dataset, "code": code, "direction": direction, "depth": depth, "kinds": kinds}
        return await self._run(lineage.lineage(**query, previous=previous or None, at=at))

    async def run_event(self, ref: str) -> Json:
        return await self._run(lineage.run_event(ref))

    async def send_run_event(self, event: Mapping[str, Any]) -> Json:
        return await self._run(lineage.send_run_event(event))

    async def report_deployment(
        self,
        ref: str,
        *,
        environment: str,
        deployer: str,
        state: str,
        at: str | None = None,
        url: str | None = None,
        details: str | None = None,
    ) -> Json:
        fields = {"environment": environment, "deployer": deployer, "state": state}
        return await self._run(lineage.report_deployment(ref, {**fields, "at": at, "url": url, "details": details}))

    def deployments(self, model: str | None = None, *, environment: str | None = None) -> AsyncIterator[Json]:
        return self._each(lineage.deployments(model, environment), plain)

    async def delete_version(self, ref: str, *, reason: str) -> Json:
        return await self._run(lineage.delete_version(ref, reason))

    async def collect(self, *, dry_run: bool = True, after: int = 0, limit: int = 1000) -> Json:
        return await self._run(lineage.collect({"dry_run": dry_run, "after": after, "limit": limit}))

    async def sweep(self, *, dry_run: bool = True, page_token: str | None = None, limit: int = 1000) -> Json:
        """Free leftovers of uploads on one page of the bucket, or tell which; `next_page_token` is for the next."""
        return await self._run(lineage.sweep(dry_run=dry_run, page_token=page_token, limit=limit))

    async def collect_leftovers(
        self, *, dry_run: bool = True, page_token: str | None = None, limit: int = 1000
    ) -> Json:
        """Free leftovers of refused versions and unmade releases on one page of one place, or tell which."""
        return await self._run(lineage.collect_leftovers(dry_run=dry_run, page_token=page_token, limit=limit))
