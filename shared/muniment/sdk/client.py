"""The blocking client. Every method is a call (`calls`, `publish`, `download`) driven with blocking I/O.

What moves bytes is imported when it is first used: most commands only ask.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from muniment.contracts.errors import MunimentError
from muniment.sdk import calls
from muniment.sdk.audit_clients import AuditLogClient
from muniment.sdk.audit_log import Save
from muniment.sdk.events_clients import EventsClient
from muniment.sdk.exchange import Call, Done, Effect, Listing, Outcome, Pause, Request, Unanswered, advance
from muniment.sdk.history_clients import HistoryClient
from muniment.sdk.lineage_clients import LineageClient
from muniment.sdk.naming_clients import NamingClient
from muniment.sdk.records import AuditEntry, Branch, Candidate, Model, Publication, Version, plain
from muniment.sdk.scrub_clients import ScrubClient
from muniment.sdk.settings import find_server
from muniment.sdk.transfer.cache import Cache, cache_folder
from muniment.sdk.transfer.pool import Stop
from muniment.sdk.transport import save, send
from muniment.sdk.versioning_clients import VersioningClient
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


class Client(NamingClient, LineageClient, HistoryClient, VersioningClient, ScrubClient, AuditLogClient, EventsClient):
    """A registry, asked with blocking calls. Safe to share between threads; close it, or use it with `with`.

    Without arguments the server is found as `settings.find_server` says: environment, then a credentials file.
    Every method raises `MunimentError`s: what the server answered with, or `Transient` (`server_unreachable`).
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        credentials: str | os.PathLike[str] | None = None,
        timeout: float = 30.0,
    ) -> None:
        """`timeout`: seconds without a byte after which a request is given up."""
        self._server = find_server(url, token, credentials=None if credentials is None else Path(credentials))
        self._timeout = timeout
        self._wire = Wire(timeout)
        self._sleep: Callable[[float], None] = time.sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._wire.close()

    # -- publications

    def publish(self, source: Source, *, model: str, **options: Unpack[PublishOptions]) -> Publication:
        """Publish a directory or files as a version of `model`, and wait until it is one (or a candidate).

        The files are hashed here and uploaded straight to the object store. The result's `version` is the version;
        with `wait=False` it is not known yet. Raises `PublicationRejected`; `Conflict` (`file_changed`) where a file
        is written to meanwhile; `Transient` (`wait_timeout`).
        """
        from muniment.sdk.publish import publishing

        return self._run(publishing(self._shop(), source, model, options))

    def publication(self, publication_id: str, *, wait: float = 0.0) -> Publication:
        """A publication's stage. With `wait` (seconds) the answer comes when it is settled or the time is up."""
        return self._run(calls.publication(publication_id, wait))

    def publications(self, *, model: str | None = None, stage: str | None = None) -> Iterator[Publication]:
        """All publications, newest first."""
        return self._each(Listing("ingest", "/publications", {"model": model, "stage": stage}), Publication.of)

    def abandon(self, publication_id: str) -> None:
        """Give an upload up."""
        self._run(calls.abandon(publication_id))

    def candidates(self, *, model: str | None = None) -> Iterator[Candidate]:
        """Publications that wait for a person."""
        return self._each(Listing("registry", "/candidates", {"model": model}), Candidate.of)

    def commit(self, publication_id: str, **options: Unpack[CommitOptions]) -> Version:
        """Make a candidate a version. What is left out stays as the publisher gave it; tags are added."""
        return self._run(calls.commit(publication_id, options))

    def refuse(self, publication_id: str, *, reason: str) -> None:
        """End a candidate without a version."""
        self._run(calls.refuse(publication_id, reason))

    # -- models and versions

    def models(self) -> Iterator[Model]:
        """All models."""
        return self._each(Listing("registry", "/models"), Model.of)

    def model(self, name: str) -> Model:
        """One model."""
        return self._run(calls.model(name))

    def branches(self, model: str, *, at: str | None = None) -> Iterator[Branch]:
        """A model's branches, now or as of a moment (RFC 3339)."""
        return self._each(calls.branches(model, at), Branch.of)

    def versions(self, model: str, *, branch: str | None = None, at: str | None = None) -> Iterator[Version]:
        """A model's versions, newest first, now or as of a moment."""
        return self._each(calls.versions(model, branch, at), Version.of)

    def version(self, ref: str, *, at: str | None = None) -> Version:
        """The version that a reference means, or meant at a moment; its files and manifest are in `raw`."""
        return self._run(calls.version(ref, at))

    def log(self, ref: str, *, at: str | None = None) -> Iterator[Version]:
        """The versions on the way back from a reference along its branch."""
        return self._each(calls.log(ref, at), Version.of)

    def download(
        self,
        ref: str,
        destination: str | os.PathLike[str],
        *,
        verify: bool = True,
        force: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Version:
        """Download a version's files into a directory; files that are already right are kept, partial ones resumed.

        Each file is checked against the manifest while it streams (`verify=False` leaves that out) and appears in its
        place only when it is whole; the manifest must have the digest that is the version's id.
        With `force` an admin gets a damaged version as it is: nothing is checked then, and it is audited.
        Raises `Conflict` (`digest_mismatch`, `manifest_mismatch`, `version_damaged`).
        """
        from muniment.sdk.download import downloading

        return self._run(
            downloading(self._shop(), ref, destination, verify=verify, force=force, on_progress=on_progress)
        )

    def verify(
        self, ref: str, directory: str | os.PathLike[str] | None = None, *, on_progress: OnProgress | None = None
    ) -> Verification:
        """Check a version's manifest against its id, and a directory against the manifest, by reading every byte."""
        from muniment.sdk.download import verifying

        return self._run(verifying(ref, directory, on_progress=on_progress))

    def reproduce(self, ref: str, directory: str | os.PathLike[str]) -> Reproduction:
        """Write what it takes to run a version's training again into a new or empty folder; nothing is run.

        Raises `Conflict` (`folder_not_empty`).
        """
        from muniment.sdk.reproduce import reproducing

        return self._run(reproducing(self._shop(), ref, directory))

    # -- audit

    def audit_entries(self, **filters: Unpack[AuditFilters]) -> Iterator[AuditEntry]:
        """The audit log's entries that fit, oldest first unless `order` is `newest`."""
        return self._each(Listing("audit", "/audit/entries", filters), AuditEntry.of)

    def audit_entry(self, index: int) -> AuditEntry:
        """One audit entry."""
        return self._run(calls.audit_entry(index))

    # -- subscriptions

    def subscriptions(self) -> Iterator[Json]:
        """All subscriptions."""
        return self._each(calls.SUBSCRIPTIONS.list(), plain)

    def subscription(self, subscription_id: str) -> Json:
        """One subscription."""
        return self._run(calls.SUBSCRIPTIONS.show(subscription_id))

    def create_subscription(self, subscription: Mapping[str, Any]) -> Json:
        """Make a subscription: `name`, `channel` (webhook, slack, teams, email, kafka, apprise), its address, filters.

        A generated secret is in this answer and never again.
        """
        return self._run(calls.SUBSCRIPTIONS.create(subscription))

    def change_subscription(self, subscription_id: str, changes: Mapping[str, Any]) -> Json:
        """Change the given fields."""
        return self._run(calls.SUBSCRIPTIONS.change(subscription_id, changes))

    def delete_subscription(self, subscription_id: str) -> None:
        """Delete a subscription."""
        self._run(calls.SUBSCRIPTIONS.delete(subscription_id))

    def test_subscription(self, subscription_id: str) -> Json:
        """Send a test event now; the answer tells what was sent and what came back."""
        return self._run(calls.SUBSCRIPTIONS.act(subscription_id, "test"))

    def deliveries(self, subscription_id: str, *, state: str | None = None) -> Iterator[Json]:
        """A subscription's deliveries, newest first; with `state` (gathered, pending, delivered, dead) only those."""
        return self._each(calls.SUBSCRIPTIONS.part(subscription_id, "deliveries", state=state), plain)

    def rotate_secret(self, subscription_id: str, *, old_valid_hours: int = 24) -> Json:
        """Make a new signing secret, shown in this answer alone; the old one signs beside it for that long."""
        wanted = {"old_valid_hours": old_valid_hours}
        return self._run(calls.SUBSCRIPTIONS.act(subscription_id, "secret", wanted))

    def retry_delivery(self, delivery_id: str) -> None:
        """Deliver a dead or waiting delivery now."""
        self._run(calls.retry_delivery(delivery_id))

    def preview_subscription(self, wanted: Mapping[str, Any]) -> Iterator[Json]:
        """Events of the last `days` (30 by default) that a filter would have matched, oldest first.

        `wanted` are the filter fields of a subscription: `types`, `model`, `branch`, `stability`, `track`, `tags`,
        `metrics`.
        """
        after: int | None = None
        while True:
            page = self._run(calls.preview(wanted if after is None else {**wanted, "after": after}))
            yield from page["items"]
            if page["complete"]:
                return
            after = page["cursor"]

    def replay_subscription(
        self, subscription_id: str, *, since: str | None = None, after: int | None = None, force: bool = False
    ) -> Json:
        """Deliver past events that match: since a time (RFC 3339), or after a cursor (0: the oldest event kept).

        Each event has its one delivery with its one id, so what has arrived is left alone unless `force`. Returns how
        many were `queued` for the first time, go out `again`, and are `kept` as they are.
        """
        start = {"since": since} if after is None else {"after": after}
        return self._run(calls.replay(subscription_id, start, force=force))

    # -- tokens, publisher keys, dead letters

    def tokens(self) -> Iterator[Json]:
        """All API tokens, without their secrets."""
        return self._each(calls.TOKENS.list(), plain)

    def create_token(self, token: Mapping[str, Any]) -> Json:
        """Make an API token. Its secret is in this answer and never again."""
        return self._run(calls.TOKENS.create(token))

    def revoke_token(self, name: str) -> None:
        """Revoke an API token."""
        self._run(calls.TOKENS.delete(name))

    def publisher_keys(self) -> Iterator[Json]:
        """All publisher keys."""
        return self._each(calls.PUBLISHER_KEYS.list(), plain)

    def create_publisher_key(self, key: Mapping[str, Any]) -> Json:
        """Register the public half of a publisher key (`event.new_publisher_key`)."""
        return self._run(calls.PUBLISHER_KEYS.create(key))

    def revoke_publisher_key(self, kid: str) -> None:
        """Revoke a publisher key."""
        self._run(calls.PUBLISHER_KEYS.delete(kid))

    def dead_letters(self, service: str, *, retried: bool = False) -> Iterator[Json]:
        """The records that a service set aside, newest first; with `retried` those that were sent again too."""
        return self._each(calls.dead_letters(service).list(retried=retried or None), plain)

    def dead_letter(self, service: str, letter_id: str) -> Json:
        """One record that was set aside, with its bytes and the reason."""
        return self._run(calls.dead_letters(service).show(letter_id))

    def retry_dead_letter(self, service: str, letter_id: str) -> Json:
        """Hand a record that was set aside to its service again."""
        return self._run(calls.dead_letters(service).act(letter_id, "retry"))

    def server_version(self) -> Json:
        """What the server says it is."""
        return self._run(calls.server_version())

    # -- the driver

    def _saver(self) -> Save:
        return partial(save, self._wire, self._server)

    def _shop(self) -> Workshop:
        return Workshop(self._wire, Cache(cache_folder()), self._server.base("ingest"))

    def _run(self, call: Call[T]) -> T:
        outcome = Outcome()
        while True:
            effect = advance(call, outcome)
            if isinstance(effect, Done):
                return effect.value
            try:
                outcome = Outcome(self._do(effect))
            except (Unanswered, MunimentError) as error:
                outcome = Outcome(error=error)

    def _do(self, effect: Effect) -> Any:
        if isinstance(effect, Request):
            return send(self._wire, self._server, effect, self._timeout)
        if isinstance(effect, Pause):
            return self._sleep(effect.seconds)
        return effect.run(Stop())

    def _each(self, listing: Listing, of: Callable[[Any], T]) -> Iterator[T]:
        token: str | None = None
        while True:
            page = self._run(listing.page(token))
            for item in page.items:
                yield of(item)
            token = page.next_page_token
            if token is None:
                return
