"""What people do with subscriptions: each operation with its audit entry, in one transaction."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue, StrictBool, StrictInt, StrictStr

from muniment.contracts.cloudevent import CloudEvent
from muniment.contracts.errors import Conflict, PreconditionFailed, Rejected
from muniment.contracts.events import Cause, Change
from muniment.contracts.identity import Principal
from muniment.contracts.model import Payload, Timestamp, Word, rfc3339
from muniment.notifier import ledger, replays, store
from muniment.notifier.channels import TEST_TYPE, Channel, Message
from muniment.notifier.channels.signing import public_key_of
from muniment.notifier.domain import FILTER_FIELDS, Filter, filter_of, structured_json
from muniment.notifier.exchange import Exchange, exchange
from muniment.notifier.handlers import Wake
from muniment.notifier.outbound import MAX_URL
from muniment.notifier.replays import Types, Wishes
from muniment.notifier.sealing import Sealer
from muniment.notifier.store import SQL, Subscription
from muniment.notifier.timing import MAX_DAMP_MINUTES, TIMING_FIELDS, DigestEvery, Timing, timing_of
from muniment.notifier.views import SecretCreated
from muniment.ports.clock import Clock
from muniment.runtime.delivery.transaction import Transactions, Tx

TESTS_AT_ONCE: Final = 4
CHANNEL_FIELDS: Final = ("url", "email", "topic", "format", "signing", "title")
"""Settings of channels; each channel says which are its own."""

Name = Annotated[Word, Field(min_length=1)]
Owner = Annotated[Word, Field(pattern=r"^[^|]+\|[^|]+$")]
"""`issuer|subject`, as `whoami` prints it."""
Url = Annotated[StrictStr, Field(max_length=MAX_URL)]
DampMinutes = Annotated[StrictInt, Field(ge=1, le=MAX_DAMP_MINUTES)]


ChannelName = Literal["webhook", "slack", "teams", "email", "kafka", "apprise"]
Format = Literal["cloudevents", "mlflow"]


class SubscriptionWanted(Payload):
    """A new subscription. Filters that are left out let everything through; `model` and `branch` are globs.

    `url` is for webhook, slack, teams and apprise, `email` and `topic` (of Kafka) for theirs; `format` and `signing`
    are a webhook's; `title` is what a message for people is headed with, e.g. `{model} {number} is out`.

    `tags` are `KEY` or `KEY=VALUE`, `metrics` conditions like `accuracy >= 0.95`; all of them must be met. After
    `expires_at` nothing is delivered. With `digest` events are told together by the hour or day, and never in
    `quiet_hours` (`22:00-07:00 Europe/Berlin`). For `damp_minutes` after an alert, further ones of the same model,
    metric, slice and data set are gathered.
    """

    name: Name
    channel: ChannelName = "webhook"
    url: Url | None = None
    email: Word | None = None
    topic: Word | None = None
    format: Format | None = None
    signing: Literal["hmac", "ed25519"] | None = None
    title: Word | None = None
    types: Types = ()
    model: Word | None = None
    branch: Word | None = None
    stability: Word | None = None
    track: Word | None = None
    tags: Wishes = ()
    metrics: Wishes = ()
    expires_at: Timestamp | None = None
    digest: DigestEvery | None = None
    quiet_hours: Word | None = None
    damp_minutes: DampMinutes | None = None


class SubscriptionChange(Payload):
    """What is to be different; fields that are left out stay.

    null takes a filter, the title, the expiry or a timing away. `owner` is who answers for it from now on.
    """

    name: Name | None = None
    owner: Owner | None = None
    url: Url | None = None
    email: Word | None = None
    topic: Word | None = None
    format: Format | None = None
    title: Word | None = None
    types: Types | None = None
    model: Word | None = None
    branch: Word | None = None
    stability: Word | None = None
    track: Word | None = None
    tags: Wishes | None = None
    metrics: Wishes | None = None
    expires_at: Timestamp | None = None
    digest: DigestEvery | None = None
    quiet_hours: Word | None = None
    damp_minutes: DampMinutes | None = None
    paused: StrictBool | None = None


class SecretWanted(Payload):
    """A rotation: for how long the old secret goes on signing beside the new one."""

    old_valid_hours: Annotated[StrictInt, Field(ge=0, le=168)] = 24


@dataclass(frozen=True, slots=True)
class By:
    """Who does it, and in which request."""

    principal: Principal
    cause: Cause


@dataclass(slots=True)
class Subscriptions:
    """The operations."""

    transactions: Transactions
    channels: Mapping[str, Channel]
    sealer: Sealer
    clock: Clock
    wake: Wake
    timeout_s: float
    tests: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(TESTS_AT_ONCE))
    room: store.Room = field(default_factory=store.Room)

    async def create(self, wanted: SubscriptionWanted, by: By) -> tuple[Subscription, str | None]:
        """The new subscription, and the secret it shares with its receiver, if any: told here and never again.

        Raises `Rejected` (`filter_invalid`, `url_invalid`, `address_refused`, `setting_unknown` and what else the
        channel refuses) and `Conflict` (`subscription_exists`, `subscription_limit`, `channel_unknown`).
        """
        accepted = filter_of(wanted.model_dump(include=set(FILTER_FIELDS)))
        timing = timing_of(wanted.model_dump(include=set(TIMING_FIELDS)))
        check_expiry(wanted.expires_at, self.clock.now())
        channel = self._channel(wanted.channel)
        subscription_id = uuid.uuid4()
        given = wanted.model_dump(include=set(CHANNEL_FIELDS), exclude_none=True)
        config = channel.checked(given, subscription_id, {})
        check_gathering(timing, config)
        secret = channel.new_secret(config)
        public_key = public_key_of(secret)
        async with self.transactions.begin() as tx:
            made = await store.create(
                tx.connection,
                subscription_id=subscription_id,
                name=wanted.name,
                channel=wanted.channel,
                config=config,
                wanted=accepted,
                owner=by.principal.operator,
                sealed_secret=None if secret is None else self.sealer.seal(secret, subscription_id),
                public_key=public_key,
                now=tx.now,
                timing=timing,
                expires_at=wanted.expires_at,
                room=self.room,
            )
            _audit(tx, "created", made.id, by, _changes({}, self._facts(made)))
        return made, None if public_key else secret

    async def change(
        self, subscription_id: uuid.UUID, wanted: SubscriptionChange, by: By, *, if_match: str | None
    ) -> Subscription:
        """The changed subscription. A disabled one is active again with `paused: false`.

        Raises what `create` raises, `NotFound`, and `PreconditionFailed` (`version_mismatch`).
        """
        given = wanted.model_dump(include=set(wanted.model_fields_set))
        for name in ("name", "owner", "url", "email", "topic", "format", "paused"):
            if name in given and given[name] is None:
                raise Rejected("schema_invalid", f"{name}: it cannot be null", expected="a value, or no field at all")
        async with self.transactions.begin() as tx:
            found = await store.lock(tx.connection, subscription_id)
            _check_version(found, if_match)
            changed = _timed(self._changed(found, given), given, tx.now)
            if changed == found:
                return found
            saved = await store.update(tx.connection, changed, tx.now)
            if changed.timing != found.timing:
                await tx.connection.execute(SQL["close_gathered"], found.id)
            _audit(tx, "changed", found.id, by, _changes(self._facts(found), self._facts(saved)))
            tx.after_commit(lambda: self.wake([found.id]))
        return saved

    async def delete(self, subscription_id: uuid.UUID, by: By, *, if_match: str | None) -> None:
        """Remove it, its secrets and whatever it still had to deliver. Raises `NotFound`, `PreconditionFailed`."""
        async with self.transactions.begin() as tx:
            found = await store.lock(tx.connection, subscription_id)
            _check_version(found, if_match)
            await store.delete(tx.connection, found.id, tx.now)
            _audit(tx, "deleted", found.id, by, _changes(self._facts(found), {}))

    async def rotate(self, subscription_id: uuid.UUID, wanted: SecretWanted, by: By) -> SecretCreated:
        """A new secret, told here and never again, and until when the old one signs too.

        Raises `NotFound` and `Conflict` (`channel_unknown`, `secret_unused`).
        """
        async with self.transactions.begin() as tx:
            found = await store.lock(tx.connection, subscription_id)
            secret = self._channel(found.channel).new_secret(found.config)
            if secret is None:
                raise Conflict(
                    "secret_unused",
                    f"a {found.channel} subscription signs nothing",
                    expected="a webhook",
                    actual=found.channel,
                    hint="where its URL has leaked, make a new one there and change the subscription's",
                )
            old_until = tx.now + timedelta(hours=wanted.old_valid_hours)
            key = public_key_of(secret)
            await store.rotate(
                tx.connection,
                found.id,
                self.sealer.seal(secret, found.id),
                public_key=key,
                now=tx.now,
                old_until=old_until,
            )
            change = Change(path="secret.old_valid_until", after=rfc3339(old_until))
            _audit(tx, "secret-rotated", found.id, by, [change])
        return SecretCreated(secret=None if key else secret, public_key=key, old_valid_until=old_until)

    async def retry(self, delivery_id: uuid.UUID, by: By) -> None:
        """Deliver a dead or waiting delivery now. Raises `NotFound`, `Conflict`."""
        async with self.transactions.begin() as tx:
            subscription_id = await ledger.retry(tx.connection, delivery_id)
            change = Change(path="deliveries", after=str(delivery_id))
            _audit(tx, "delivery-retried", subscription_id, by, [change])
            tx.after_commit(lambda: self.wake([subscription_id]))

    async def replay(self, subscription_id: uuid.UUID, wanted: replays.ReplayWanted, by: By) -> replays.ReplaySeen:
        """One step of delivering past events. Raises `NotFound`, `Conflict` (`subscription_inactive`)."""
        async with self.transactions.begin() as tx:
            found = await store.hold(tx.connection, subscription_id)
            seen = await replays.replay(tx, found, wanted)
            change = Change(path="deliveries", after=replays.replay_facts(seen, wanted))
            _audit(tx, "replayed", found.id, by, [change])
            tx.after_commit(lambda: self.wake([found.id]))
        return seen

    async def test(self, subscription_id: uuid.UUID) -> Exchange:
        """Send a test event now, paused or not, and return both sides. Nothing of it enters the ledger.

        Raises `NotFound` and `Conflict` (`channel_unknown`).
        """
        found = await store.get(self.transactions.pool, subscription_id)
        channel = self._channel(found.channel)
        message = Message(
            delivery_id=uuid.uuid4(),
            subscription_id=found.id,
            config=found.config,
            body=structured_json(_test_event(found, self.clock.now())),
            secrets=await store.live_secrets(self.transactions.pool, found.id),
        )
        async with self.tests:
            return await exchange(channel, message, self.clock, self.timeout_s)

    def _channel(self, name: str) -> Channel:
        """The channel of this name. Raises `Conflict` (`channel_unknown`)."""
        channel = self.channels.get(name)
        if channel is None:
            raise Conflict(
                "channel_unknown", f"there is no channel {name!r} here", expected=", ".join(self.channels), actual=name
            )
        return channel

    def _changed(self, found: Subscription, given: Mapping[str, Any]) -> Subscription:
        wishes = {name: given[name] for name in FILTER_FIELDS if name in given}
        changed = replace(found, filter=filter_of({**found.filter.fields(), **wishes}) if wishes else found.filter)
        changed = replace(changed, **{name: given[name] for name in ("name", "owner") if name in given})
        if settings := {name: given[name] for name in CHANNEL_FIELDS if name in given}:
            checked = self._channel(found.channel).checked(settings, found.id, found.config)
            changed = replace(changed, config=checked)
        if given.get("paused") is True and found.state == "active":
            changed = replace(changed, state="paused")
        if given.get("paused") is False:
            changed = replace(changed, state="active", reason=None)
        return changed

    def _facts(self, subscription: Subscription) -> dict[str, JsonValue]:
        """What an audit entry says of it. Addresses are told without what may be a secret in them."""
        channel = self.channels.get(subscription.channel)
        return {
            "name": subscription.name,
            "owner": subscription.owner,
            "channel": subscription.channel,
            "state": subscription.state,
            "filter": _json(subscription.filter),
            **{name: value for name, value in subscription.timing.fields().items() if value is not None},
            **({"expires_at": rfc3339(subscription.expires_at)} if subscription.expires_at else {}),
            **(channel.shown(subscription.config) if channel else {}),
        }


def check_expiry(expires_at: datetime | None, now: datetime) -> None:
    """Raises `Rejected` (`expiry_invalid`) unless it lies ahead."""
    if expires_at is not None and expires_at <= now:
        raise Rejected(
            "expiry_invalid", "the expiry has passed", expected=f"> {rfc3339(now)}", actual=rfc3339(expires_at)
        )


def check_gathering(timing: Timing, config: Mapping[str, Any]) -> None:
    """Raises `Rejected` (`timing_invalid`) where what is gathered could not be told: MLflow's format has no digests."""
    if timing != Timing() and config.get("format") == "mlflow":
        raise Rejected(
            "timing_invalid",
            "MLflow's format has no digests",
            expected="format cloudevents, or none of " + ", ".join(TIMING_FIELDS),
            actual="format mlflow",
        )


def _timed(changed: Subscription, given: Mapping[str, Any], now: datetime) -> Subscription:
    """With another timing or expiry. One that had expired is active again when it gets an expiry that lies ahead."""
    if wishes := {name: given[name] for name in TIMING_FIELDS if name in given}:
        changed = replace(changed, timing=timing_of({**changed.timing.fields(), **wishes}))
    check_gathering(changed.timing, changed.config)
    if "expires_at" in given:
        check_expiry(given["expires_at"], now)
        changed = replace(changed, expires_at=given["expires_at"])
        if changed.state == "expired":
            changed = replace(changed, state="active", reason=None)
    if given.get("paused") is False and changed.state_at(now) == "expired":
        raise Conflict(
            "subscription_expired",
            "the subscription has expired",
            expected="an expires_at that lies ahead, or null",
            actual=None if changed.expires_at is None else rfc3339(changed.expires_at),
            hint="give it another expires_at with the same change",
        )
    return changed


def _json(wanted: Filter) -> JsonValue:
    fields: dict[str, JsonValue] = json.loads(json.dumps(wanted.fields()))
    return fields


def _changes(before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]) -> list[Change]:
    names = dict.fromkeys((*before, *after))
    return [
        Change(path=name, before=before.get(name), after=after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _audit(tx: Tx, what: str, subscription_id: uuid.UUID, by: By, changes: Sequence[Change]) -> None:
    tx.audit(
        action=f"subscription.{what}",
        resource=f"subscriptions/{subscription_id}",
        operator=by.principal.operator,
        authenticated_by=by.principal.authenticated_by,
        cause=by.cause,
        changes=changes,
    )


def etag(subscription: Subscription) -> str:
    """The subscription's version as a strong entity tag (RFC 9110 section 8.8.3)."""
    return f'"{subscription.version}"'


def _check_version(found: Subscription, if_match: str | None) -> None:
    if if_match is None or if_match.strip() == "*":
        return
    if etag(found) not in [tag.strip() for tag in if_match.split(",")]:
        raise PreconditionFailed(
            "version_mismatch",
            "the subscription is not in the state that If-Match names",
            expected=if_match[:100],
            actual=etag(found),
            hint="read it again and decide anew",
        )


def _test_event(found: Subscription, now: datetime) -> CloudEvent:
    data = {"subscription": str(found.id), "name": found.name, "message": "This is a test. Nothing has happened."}
    return CloudEvent(
        id=str(uuid.uuid4()),
        source="/muniment/notifier",
        type=TEST_TYPE,
        data=json.dumps(data, ensure_ascii=False).encode(),
        time=rfc3339(now),
    )
