"""The asyncio client: the methods of `Client` as coroutines and asynchronous iterators, described there.

It drives the same calls; bytes are hashed and moved on threads, which stop when the task is cancelled.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from muniment.contracts.errors import MunimentError
from muniment.sdk import calls
from muniment.sdk.audit_clients import AsyncAuditLogClient
from muniment.sdk.audit_log import Save
from muniment.sdk.events_clients import AsyncEventsClient
from muniment.sdk.exchange import Call, Done, Effect, Listing, Outcome, Pause, Request, Unanswered, Work, advance
from muniment.sdk.history_clients import AsyncHistoryClient
from muniment.sdk.lineage_clients import AsyncLineageClient
from muniment.sdk.naming_clients import AsyncNamingClient
from muniment.sdk.records import AuditEntry, Branch, Candidate, Model, Publication, Version, plain
from muniment.sdk.scrub_clients import AsyncScrubClient
from muniment.sdk.settings import find_server
from muniment.sdk.transfer.cache import Cache, cache_folder
from muniment.sdk.transfer.pool import Stop
from muniment.sdk.transport import AsyncSender, save
from muniment.sdk.versioning_clients import AsyncVersioningClient
from muniment.sdk.wire import Wire
from muniment.sdk.workshop import Workshop

if TYPE_CHECKING:
    from muniment.sdk.options import AuditFilters, CommitOptions, PublishOptions
    from muniment.sdk.reproduce import Reproduction
    from muniment.sdk.transfer.progress import OnProgress
    from muniment.sdk.transfer.scan import Source
    from muniment.sdk.verify import Verification

T = TypeVar("T")
Json = dict[str, Any]


class AsyncClient(
    AsyncNamingClient,
    AsyncLineageClient,
    AsyncHistoryClient,
    AsyncVersioningClient,
    AsyncScrubClient,
    AsyncAuditLogClient,
    AsyncEventsClient,
):
    """A registry, asked from asyncio. Close it with `aclose`, or use it with `async with`. See `Client`."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        credentials: str | os.PathLike[str] | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._server = find_server(url, token, credentials=None if credentials is None else Path(credentials))
        self._sender = AsyncSender(self._server, timeout)
        self._wire = Wire(timeout)
        self._sleep = asyncio.sleep

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        self._wire.close()
        await self._sender.aclose()

    # -- publications

    async def publish(self, source: Source, *, model: str, **options: Unpack[PublishOptions]) -> Publication:
        from muniment.sdk.publish import publishing

        return await self._run(publishing(self._shop(), source, model, options))

    async def publication(self, publication_id: str, *, wait: float = 0.0) -> Publication:
        return await self._run(calls.publication(publication_id, wait))

    def publications(self, *, model: str | None = None, stage: str | None = None) -> AsyncIterator[Publication]:
        return self._each(Listing("ingest", "/publications", {"model": model, "stage": stage}), Publication.of)

    async def abandon(self, publication_id: str) -> None:
        await self._run(calls.abandon(publication_id))

    def candidates(self, *, model: str | None = None) -> AsyncIterator[Candidate]:
        return self._each(Listing("registry", "/candidates", {"model": model}), Candidate.of)

    async def commit(self, publication_id: str, **options: Unpack[CommitOptions]) -> Version:
        return await self._run(calls.commit(publication_id, options))

    async def refuse(self, publication_id: str, *, reason: str) -> None:
        await self._run(calls.refuse(publication_id, reason))

    # -- models and versions

    def models(self) -> AsyncIterator[Model]:
        return self._each(Listing("registry", "/models"), Model.of)

    async def model(self, name: str) -> Model:
        return await self._run(calls.model(name))

    def branches(self, model: str, *, at: str | None = None) -> AsyncIterator[Branch]:
        return self._each(calls.branches(model, at), Branch.of)

    def versions(self, model: str, *, branch: str | None = None, at: str | None = None) -> AsyncIterator[Version]:
        return self._each(calls.versions(model, branch, at), Version.of)

    async def version(self, ref: str, *, at: str | None = None) -> Version:
        return await self._run(calls.version(ref, at))

    def log(self, ref: str, *, at: str | None = None) -> AsyncIterator[Version]:
        return self._each(calls.log(ref, at), Version.of)

    async def download(
        self,
        ref: str,
        destination: str | os.PathLike[str],
        *,
        verify: bool = True,
        force: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Version:
        from muniment.sdk.download import downloading

        return await self._run(
            downloading(self._shop(), ref, destination, verify=verify, force=force, on_progress=on_progress)
        )

    async def verify(
        self, ref: str, directory: str | os.PathLike[str] | None = None, *, on_progress: OnProgress | None = None
    ) -> Verification:
        from muniment.sdk.download import verifying

        return await self._run(verifying(ref, directory, on_progress=on_progress))

    async def reproduce(self, ref: str, directory: str | os.PathLike[str]) -> Reproduction:
        from muniment.sdk.reproduce import reproducing

        return await self._run(reproducing(self._shop(), ref, directory))

    # -- audit

    def audit_entries(self, **filters: Unpack[AuditFilters]) -> AsyncIterator[AuditEntry]:
        return self._each(Listing("audit", "/audit/entries", filters), AuditEntry.of)

    async def audit_entry(self, index: int) -> AuditEntry:
        return await self._run(calls.audit_entry(index))

    # -- subscriptions

    def subscriptions(self) -> AsyncIterator[Json]:
        return self._each(calls.SUBSCRIPTIONS.list(), plain)

    async def subscription(self, subscription_id: str) -> Json:
        return await self._run(calls.SUBSCRIPTIONS.show(subscription_id))

    async def create_subscription(self, subscription: Mapping[str, Any]) -> Json:
        return await self._run(calls.SUBSCRIPTIONS.create(subscription))

    async def change_subscription(self, subscription_id: str, changes: Mapping[str, Any]) -> Json:
        return await self._run(calls.SUBSCRIPTIONS.change(subscription_id, changes))

    async def delete_subscription(self, subscription_id: str) -> None:
        await self._run(calls.SUBSCRIPTIONS.delete(subscription_id))

    async def test_subscription(self, subscription_id: str) -> Json:
        return await self._run(calls.SUBSCRIPTIONS.act(subscription_id, "test"))

    def deliveries(self, subscription_id: str, *, state: str | None = None) -> AsyncIterator[Json]:
        return self._each(calls.SUBSCRIPTIONS.part(subscription_id, "deliveries", state=state), plain)

    async def rotate_secret(self, subscription_id: str, *, old_valid_hours: int = 24) -> Json:
        wanted = {"old_valid_hours": old_valid_hours}
        return await self._run(calls.SUBSCRIPTIONS.act(subscription_id, "secret", wanted))

    async def retry_delivery(self, delivery_id: str) -> None:
        await self._run(calls.retry_delivery(delivery_id))

    async def preview_subscription(self, wanted: Mapping[str, Any]) -> AsyncIterator[Json]:
        after: int | None = None
        while True:
            page = await self._run(calls.preview(wanted if after is None else {**wanted, "after": after}))
            for item in page["items"]:
                yield item
            if page["complete"]:
                return
            after = page["cursor"]

    async def replay_subscription(
        self, subscription_id: str, *, since: str | None = None, after: int | None = None, force: bool = False
    ) -> Json:
        start = {"since": since} if after is None else {"after": after}
        return await self._run(calls.replay(subscription_id, start, force=force))

    # -- tokens, publisher keys, dead letters

    def tokens(self) -> AsyncIterator[Json]:
        return self._each(calls.TOKENS.list(), plain)

    async def create_token(self, token: Mapping[str, Any]) -> Json:
        return await self._run(calls.TOKENS.create(token))

    async def revoke_token(self, name: str) -> None:
        await self._run(calls.TOKENS.delete(name))

    def publisher_keys(self) -> AsyncIterator[Json]:
        return self._each(calls.PUBLISHER_KEYS.list(), plain)

    async def create_publisher_key(self, key: Mapping[str, Any]) -> Json:
        return await self._run(calls.PUBLISHER_KEYS.create(key))

    async def revoke_publisher_key(self, kid: str) -> None:
        await self._run(calls.PUBLISHER_KEYS.delete(kid))

    def dead_letters(self, service: str, *, retried: bool = False) -> AsyncIterator[Json]:
        return self._each(calls.dead_letters(service).list(retried=retried or None), plain)

    async def dead_letter(self, service: str, letter_id: str) -> Json:
        return await self._run(calls.dead_letters(service).show(letter_id))

    async def retry_dead_letter(self, service: str, letter_id: str) -> Json:
        return await self._run(calls.dead_letters(service).act(letter_id, "retry"))

    async def server_version(self) -> Json:
        return await self._run(calls.server_version())

    # -- the driver

    def _saver(self) -> Save:
        return partial(save, self._wire, self._server)

    def _shop(self) -> Workshop:
        return Workshop(self._wire, Cache(cache_folder()), self._server.base("ingest"))

    async def _run(self, call: Call[T]) -> T:
        outcome = Outcome()
        while True:
            effect = advance(call, outcome)
            if isinstance(effect, Done):
                return effect.value
            try:
                outcome = Outcome(await self._do(effect))
            except (Unanswered, MunimentError) as error:
                outcome = Outcome(error=error)

    async def _do(self, effect: Effect) -> Any:
        if isinstance(effect, Request):
            return await self._sender.send(effect)
        if isinstance(effect, Pause):
            return await self._sleep(effect.seconds)
        return await _on_thread(effect)

    async def _each(self, listing: Listing, of: Callable[[Any], T]) -> AsyncIterator[T]:
        token: str | None = None
        while True:
            page = await self._run(listing.page(token))
            for item in page.items:
                yield of(item)
            token = page.next_page_token
            if token is None:
                return


async def _on_thread(work: Work) -> Any:
    stop = Stop()
    thread = asyncio.ensure_future(asyncio.to_thread(work.run, stop))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([thread])  # files and connections are let go before the caller goes on
        if not thread.cancelled():
            thread.exception()  # looked at, so that asyncio does not report it as lost
        raise
