"""What the notifier's routes answer, and how it is made from what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel

from muniment.contracts.model import Timestamp
from muniment.notifier.exchange import EXCERPT_BYTES, Exchange
from muniment.notifier.feed import FeedItem
from muniment.notifier.ledger import DeliveryRecord, DeliveryState
from muniment.notifier.store import Subscription

_SHOWN_HEADERS: Final = 50


class SubscriptionSeen(BaseModel):
    """A subscription. `degraded_since`: its endpoint fails or is slow, `degraded_reason` says how.

    `failing_since`: it has failed for so long, with no success between, that people were told.
    """

    id: UUID
    name: str
    channel: str
    url: str | None
    """Where it goes; of a URL that is itself a secret only the origin."""
    email: str | None
    topic: str | None
    format: str | None
    signing: str | None
    title: str | None
    public_keys: list[str]
    """What Ed25519 signatures verify with, newest first: two while one replaces the other."""
    types: list[str]
    model: str | None
    branch: str | None
    stability: str | None
    track: str | None
    tags: list[str]
    metrics: list[str]
    expires_at: Timestamp | None
    digest: Literal["hourly", "daily"] | None
    quiet_hours: str | None
    damp_minutes: int | None
    state: Literal["active", "paused", "disabled", "expired"]
    reason: str | None
    owner: str
    version: int
    degraded_since: Timestamp | None
    degraded_reason: str | None
    failing_since: Timestamp | None
    created_at: Timestamp
    updated_at: Timestamp


class SubscriptionCreated(SubscriptionSeen):
    """A new subscription. A `secret` is in this answer and nowhere else; null where none is shared with receivers."""

    secret: str | None


class SubscriptionPage(BaseModel):
    """Subscriptions, newest first."""

    items: list[SubscriptionSeen]
    next_page_token: str | None


class SecretCreated(BaseModel):
    """A new signing secret, in this answer and nowhere else; until `old_valid_until` the old one signs beside it.

    Where signatures are Ed25519 the secret stays here, and `public_key` is what receivers verify with.
    """

    secret: str | None
    public_key: str | None
    old_valid_until: Timestamp


class AttemptSeen(BaseModel):
    """One attempt. A number that is missing in the list belongs to a process that died during its attempt."""

    number: int
    at: Timestamp
    request_sha256: str | None
    """Of the body that was sent."""
    status: int | None
    latency_ms: int
    error: str | None
    detail: str | None
    excerpt: str | None


class DeliverySeen(BaseModel):
    """The delivery of one event, or of a digest. `id` is the `webhook-id`, `cursor` the event's place in the feed.

    A `gathered` one waits for its digest; `digest_id` is the delivery of the digest that tells of it.
    """

    id: UUID
    cursor: int
    type: str
    model: str | None
    state: DeliveryState
    digest_id: UUID | None
    due_at: Timestamp | None
    created_at: Timestamp
    finished_at: Timestamp | None
    attempts: list[AttemptSeen]


class DeliveryPage(BaseModel):
    """Deliveries, newest event first."""

    items: list[DeliverySeen]
    next_page_token: str | None


class RequestSeen(BaseModel):
    """What was sent, and how: POST, SMTP (the body is the whole mail), PRODUCE (to Kafka) or NOTIFY (by Apprise)."""

    method: str
    url: str
    """Of a URL that is itself a secret only the origin."""
    headers: dict[str, str]
    body: str


class AnswerSeen(BaseModel):
    """What came back; the body is cut at 1 KiB."""

    status: int
    headers: dict[str, str]
    body: str


class TrialSeen(BaseModel):
    """Both sides of a test delivery. Without an answer, `error` and `detail` say why."""

    delivered: bool
    latency_ms: int
    error: str | None
    detail: str | None
    request: RequestSeen | None
    answer: AnswerSeen | None


class EventSeen(BaseModel):
    """An outward event and its place."""

    cursor: int
    type: str
    id: str
    time: str | None
    model: str | None
    data: dict[str, Any]


class EventPage(BaseModel):
    """Events after a cursor, oldest first. Ask again with `cursor`, which also passes what the filter left out."""

    items: list[EventSeen]
    cursor: int


def subscription_fields(subscription: Subscription, public_keys: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of `SubscriptionSeen`."""
    wanted, config = subscription.filter, subscription.config
    webhook = subscription.channel == "webhook"
    return {
        **{name: getattr(subscription, name) for name in SubscriptionSeen.model_fields if hasattr(subscription, name)},
        "url": config.get("url", config.get("shown_url")),
        "email": config.get("email"),
        "topic": config.get("topic"),
        "format": config.get("format", "cloudevents" if webhook else None),
        "signing": config.get("signing", "hmac" if webhook else None),
        "title": config.get("title"),
        "public_keys": list(public_keys),
        "types": sorted(wanted.types),
        "model": wanted.model,
        "branch": wanted.branch,
        "stability": wanted.stability,
        "track": wanted.track,
        "tags": [str(wish) for wish in wanted.tags],
        "metrics": [str(wish) for wish in wanted.metrics],
        "state": subscription.state_at(datetime.now(UTC)),
        **subscription.timing.fields(),
    }


def subscription_seen(subscription: Subscription, public_keys: Sequence[str] = ()) -> SubscriptionSeen:
    """The subscription as writers see it."""
    return SubscriptionSeen(**subscription_fields(subscription, public_keys))


def delivery_seen(record: DeliveryRecord) -> DeliverySeen:
    """The delivery with its attempts."""
    attempts = [
        AttemptSeen(
            number=number,
            at=attempt.started_at,
            request_sha256=attempt.request_sha256,
            status=attempt.status,
            latency_ms=attempt.latency_ms,
            error=attempt.error,
            detail=attempt.detail,
            excerpt=attempt.excerpt,
        )
        for number, attempt in record.attempts
    ]
    return DeliverySeen(
        id=record.id,
        cursor=record.event_seq,
        type=record.type,
        model=record.model,
        state=record.state,
        digest_id=record.digest_id,
        due_at=record.due_at if record.state in ("pending", "gathered") else None,
        created_at=record.created_at,
        finished_at=record.finished_at,
        attempts=attempts,
    )


def trial_seen(result: Exchange) -> TrialSeen:
    """Both sides of an exchange."""
    request, answer, attempt = result.request, result.answer, result.attempt
    return TrialSeen(
        delivered=attempt.delivered,
        latency_ms=attempt.latency_ms,
        error=attempt.error,
        detail=attempt.detail,
        request=request
        and RequestSeen(
            method=request.method,
            url=request.shown_url or request.url,
            headers=dict(request.headers),
            body=request.body,
        ),
        answer=answer
        and AnswerSeen(
            status=answer.status,
            headers=dict(list(answer.headers.items())[:_SHOWN_HEADERS]),
            body=answer.body[:EXCERPT_BYTES].decode(errors="replace"),
        ),
    )


def event_seen(item: FeedItem) -> EventSeen:
    """The event, its envelope opened."""
    event = item.event
    return EventSeen(
        cursor=item.cursor,
        type=event["type"],
        id=event["id"],
        time=event.get("time"),
        model=event["data"].get("model"),
        data=event["data"],
    )
