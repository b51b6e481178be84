"""Routes of the notifier: subscriptions and their deliveries (writers), and the event feed (readers).

Writers see whole URLs, so URLs are shown to writers only; signing secrets are shown once, to whoever made them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from muniment.contracts.identity import Principal
from muniment.notifier import ledger, store
from muniment.notifier.feed import MAX_WAIT_S, Feed
from muniment.notifier.ledger import DeliveryState
from muniment.notifier.replays import PreviewPage, PreviewWanted, ReplaySeen, ReplayWanted, preview
from muniment.notifier.subscriptions import (
    By,
    SecretWanted,
    SubscriptionChange,
    Subscriptions,
    SubscriptionWanted,
    etag,
)
from muniment.notifier.views import (
    DeliveryPage,
    EventPage,
    SecretCreated,
    SubscriptionCreated,
    SubscriptionPage,
    SubscriptionSeen,
    TrialSeen,
    delivery_seen,
    event_seen,
    subscription_fields,
    subscription_seen,
    trial_seen,
)
from muniment.runtime.http.auth import role
from muniment.runtime.http.pages import MAX_LIMIT, Page, page_of
from muniment.runtime.http.requests import body, cause_of
from muniment.runtime.http.routes import Routes

Reader = Annotated[Principal, Depends(role("reader"))]
Writer = Annotated[Principal, Depends(role("writer"))]
Paged = Annotated[Page, Depends(page_of)]
IfMatch = Annotated[str | None, Header(max_length=200, description="the ETag of the state that is meant")]


def router(subscriptions: Subscriptions, feed: Feed) -> APIRouter:
    """The routes, to be included under the API's prefix."""
    routes = Routes(tags=["notifications"])
    pool = subscriptions.transactions.pool

    async def seen(found: store.Subscription) -> SubscriptionSeen:
        return subscription_seen(found, (await store.public_keys(pool, [found])).get(found.id, ()))

    @routes.post("/subscriptions", status_code=201)
    async def create_subscription(
        request: Request,
        response: Response,
        writer: Writer,
        wanted: Annotated[SubscriptionWanted, Depends(body(SubscriptionWanted))],
    ) -> SubscriptionCreated:
        """Subscribe. Every matching event that is committed after the answer is delivered."""
        made, secret = await subscriptions.create(wanted, By(writer, cause_of(request)))
        response.headers["etag"] = etag(made)
        keys = await store.public_keys(pool, [made])
        return SubscriptionCreated(**subscription_fields(made, keys.get(made.id, ())), secret=secret)

    @routes.get("/subscriptions")
    async def list_subscriptions(_writer: Writer, page: Paged) -> SubscriptionPage:
        """All subscriptions, newest first."""
        after = page.after(datetime, UUID)
        rows = await store.page(pool, None if after is None else (after[0], after[1]), page.fetch)
        keys = await store.public_keys(pool, rows)
        answer = page.answer(
            rows,
            item=lambda row: subscription_seen(row, keys.get(row.id, ())),
            key=lambda row: (row.created_at, row.id),
        )
        return SubscriptionPage.model_validate(answer)

    @routes.get("/subscriptions/{subscription_id}")
    async def get_subscription(response: Response, _writer: Writer, subscription_id: UUID) -> SubscriptionSeen:
        """One subscription; its ETag is for If-Match."""
        found = await store.get(pool, subscription_id)
        response.headers["etag"] = etag(found)
        return await seen(found)

    @routes.patch("/subscriptions/{subscription_id}")
    async def change_subscription(
        request: Request,
        response: Response,
        writer: Writer,
        subscription_id: UUID,
        wanted: Annotated[SubscriptionChange, Depends(body(SubscriptionChange))],
        if_match: IfMatch = None,
    ) -> SubscriptionSeen:
        """Change, pause or resume it. While it is paused nothing is queued for it; what was queued before waits."""
        by = By(writer, cause_of(request))
        changed = await subscriptions.change(subscription_id, wanted, by, if_match=if_match)
        response.headers["etag"] = etag(changed)
        return await seen(changed)

    @routes.delete("/subscriptions/{subscription_id}", status_code=204)
    async def delete_subscription(
        request: Request, writer: Writer, subscription_id: UUID, if_match: IfMatch = None
    ) -> Response:
        """Unsubscribe. What it still had to deliver is dropped."""
        await subscriptions.delete(subscription_id, By(writer, cause_of(request)), if_match=if_match)
        return Response(status_code=204)

    @routes.post("/subscriptions/{subscription_id}/secret")
    async def rotate_subscription_secret(
        request: Request,
        writer: Writer,
        subscription_id: UUID,
        wanted: Annotated[SecretWanted, Depends(body(SecretWanted))],
    ) -> SecretCreated:
        """Make a new signing secret. Both sign until the old one ends, so that receivers can change in their time."""
        return await subscriptions.rotate(subscription_id, wanted, By(writer, cause_of(request)))

    @routes.post("/subscriptions/{subscription_id}/test")
    async def run_subscription_test(_writer: Writer, subscription_id: UUID) -> TrialSeen:
        """Send a test event now and show the exact request and answer."""
        return trial_seen(await subscriptions.test(subscription_id))

    @routes.get("/subscriptions/{subscription_id}/deliveries")
    async def list_deliveries(
        _writer: Writer,
        page: Paged,
        subscription_id: UUID,
        state: DeliveryState | None = None,
    ) -> DeliveryPage:
        """The subscription's deliveries with their latest attempts, newest event first."""
        await store.get(pool, subscription_id)
        after = page.after(int, UUID)
        before = None if after is None else (after[0], after[1])
        rows = await ledger.page(pool, subscription_id, before=before, state=state, limit=page.fetch)
        answer = page.answer(rows, item=delivery_seen, key=lambda row: (row.event_seq, row.id))
        return DeliveryPage.model_validate(answer)

    @routes.post("/deliveries/{delivery_id}/retry", status_code=202)
    async def retry_delivery(request: Request, writer: Writer, delivery_id: UUID) -> Response:
        """Deliver a dead or waiting delivery now, with its schedule begun anew."""
        await subscriptions.retry(delivery_id, By(writer, cause_of(request)))
        return Response(status_code=202)

    @routes.post("/subscriptions/{subscription_id}/replay")
    async def replay_subscription(
        request: Request,
        writer: Writer,
        subscription_id: UUID,
        wanted: Annotated[ReplayWanted, Depends(body(ReplayWanted))],
    ) -> ReplaySeen:
        """Deliver past events that the subscription's filter matches; each keeps its one delivery and id."""
        return await subscriptions.replay(subscription_id, wanted, By(writer, cause_of(request)))

    @routes.post("/subscriptions/preview")
    async def preview_subscription(
        _writer: Writer, wanted: Annotated[PreviewWanted, Depends(body(PreviewWanted))]
    ) -> PreviewPage:
        """What a filter would have matched in the last days. Changes nothing."""
        return await preview(pool, wanted, subscriptions.clock.now() - timedelta(days=wanted.days))

    @routes.get("/events")
    async def read_events(
        _reader: Reader,
        after: Annotated[int | None, Query(ge=0, le=2**63 - 1, description="a cursor; 0: the oldest kept")] = None,
        wait: Annotated[float, Query(ge=0, le=MAX_WAIT_S, allow_inf_nan=False, description="seconds")] = 0.0,
        event_type: Annotated[str | None, Query(alias="type", max_length=128)] = None,
        model: Annotated[str | None, Query(max_length=128, description="a name or glob")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
    ) -> EventPage:
        """Outward events after a cursor, in one lossless order; without one, from now on. Waits when there are none."""
        page = await feed.read(after, limit=limit, wait_s=wait, event_type=event_type, model=model)
        return EventPage(items=[event_seen(item) for item in page.items], cursor=page.cursor)

    return routes
