"""`muniment subscriptions ls|show|create|preview|pause|resume|delete|rotate|test|deliveries|retry|replay`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from muniment.cli.arguments import Command, Option
from muniment.cli.failures import Usage
from muniment.cli.session import DEFAULTS, Common, Limit
from muniment.cli.subscribing import Filters, Times, filters_of, moment_from
from muniment.cli.text import cell, moment

app = Command(
    "muniment subscriptions",
    "Who is told of what: webhooks with Standard Webhooks signatures, retried until they arrive.",
    example="muniment subscriptions create deployer --url https://deploy.example/hook --model digits",
)


@app.command("ls")
def ls(*, limit: Limit = 100, common: Common = DEFAULTS) -> None:
    """List subscriptions, newest first."""
    with common.client() as client:
        common.rows(
            client.subscriptions(),
            name=lambda item: item["id"],
            table=(
                ("ID", lambda item: cell(item["id"])),
                ("NAME", lambda item: cell(item.get("name"))),
                ("CHANNEL", lambda item: cell(item.get("channel"))),
                ("URL", lambda item: cell(item.get("url"))),
                ("FILTER", _filter),
                ("STATE", lambda item: cell(item.get("state"))),
                ("OWNER", lambda item: cell(item.get("owner"))),
            ),
            limit=limit,
            empty="there are no subscriptions",
        )


@app.command("show")
def show(subscription: str, /, *, common: Common = DEFAULTS) -> None:
    """Show one subscription."""
    with common.client() as client:
        found = client.subscription(subscription)
    common.show(found, name=subscription, facts=found.items())
    common.next(f"muniment subscriptions deliveries {subscription}")


@app.command("create")
def create(
    name: str,
    /,
    *,
    url: Annotated[str, Option("The URL that is posted to.")],
    filters: Filters = Filters(),  # noqa: B008  # reason: frozen
    times: Times = Times(),  # noqa: B008  # reason: frozen
    common: Common = DEFAULTS,
) -> None:
    """Make a webhook subscription. Its signing secret is printed once."""
    wanted = {"name": name, "channel": "webhook", "url": url, **filters.fields(), **times.fields()}
    with common.client() as client:
        made = client.create_subscription({key: value for key, value in wanted.items() if value})
    common.show(made, name=made.get("id"), facts=made.items())
    if "secret" in made:
        common.say("the secret is shown once: keep it where the receiver verifies signatures")
    common.next(f"muniment subscriptions test {made.get('id')}")


@app.command("preview")
def preview(
    *,
    like: Annotated[str | None, Option("A subscription whose filter is taken, instead of options.")] = None,
    filters: Filters = Filters(),  # noqa: B008  # reason: frozen
    days: Annotated[int, Option("How far to look back.")] = 30,
    limit: Limit = 100,
    common: Common = DEFAULTS,
) -> None:
    """Show what a filter would have matched in the last days, oldest first. Nothing is made or sent."""
    with common.client() as client:
        wanted = filters.fields() if like is None else filters_of(client.subscription(like))
        common.rows(
            client.preview_subscription({**wanted, "days": days}),
            name=lambda item: item["cursor"],
            table=(
                ("CURSOR", lambda item: cell(item["cursor"])),
                ("TIME", lambda item: moment(item.get("time"))),
                ("TYPE", lambda item: cell(item.get("type"))),
                ("MODEL", lambda item: cell(item.get("model"))),
                ("NUMBER", lambda item: cell((item.get("data") or {}).get("number"))),
                ("BRANCH", lambda item: cell((item.get("data") or {}).get("branch"))),
            ),
            limit=limit,
            empty="nothing would have matched",
        )


@app.command("pause")
def pause(subscription: str, /, *, common: Common = DEFAULTS) -> None:
    """Stop deliveries: nothing is queued for it until it is resumed, what was queued before waits."""
    _change(common, subscription, {"paused": True})


@app.command("resume")
def resume(subscription: str, /, *, common: Common = DEFAULTS) -> None:
    """Deliver again, what was queued before the pause included."""
    _change(common, subscription, {"paused": False})


@app.command("delete")
def delete(subscription: str, /, *, common: Common = DEFAULTS) -> None:
    """Delete a subscription."""
    with common.client() as client:
        client.delete_subscription(subscription)
    common.show({"id": subscription, "state": "deleted"}, name=subscription, facts=[("deleted", subscription)])


@app.command("test")
def try_out(subscription: str, /, *, common: Common = DEFAULTS) -> None:
    """Send a test event now, and show what was sent and what came back."""
    with common.client() as client:
        found = client.test_subscription(subscription)
    request, answer = found.get("request") or {}, found.get("answer") or {}
    common.show(
        found,
        name="delivered" if found.get("delivered") else "failed",
        facts=[
            *((name, found.get(name)) for name in ("delivered", "latency_ms", "error", "detail")),
            *((f"sent {name}", value) for name, value in request.get("headers", {}).items()),
            ("sent body", request.get("body")),
            ("answer", answer.get("status")),
            ("answer body", answer.get("body")),
        ],
    )


@app.command("deliveries")
def deliveries(subscription: str, /, *, limit: Limit = 100, common: Common = DEFAULTS) -> None:
    """List a subscription's deliveries, newest first."""
    with common.client() as client:
        common.rows(
            client.deliveries(subscription),
            name=lambda item: item["id"],
            table=(
                ("DELIVERY", lambda item: cell(item["id"])),
                ("TYPE", lambda item: cell(item.get("type"))),
                ("STATE", lambda item: cell(item.get("state"))),
                ("ATTEMPTS", lambda item: cell(len(item.get("attempts") or []))),
                ("ANSWER", _last_answer),
                ("CREATED", lambda item: moment(item.get("created_at"))),
                ("NEXT", lambda item: moment(item.get("due_at"))),
            ),
            limit=limit,
            empty="nothing was delivered yet",
        )


@app.command("retry")
def retry(delivery: str, /, *, common: Common = DEFAULTS) -> None:
    """Deliver a dead or waiting delivery now, with its schedule begun anew."""
    with common.client() as client:
        client.retry_delivery(delivery)
    common.show({"id": delivery, "state": "pending"}, name=delivery, facts=[("retried", delivery)])


@app.command("replay")
def replay(
    subscription: str,
    /,
    *,
    since: Annotated[str | None, Option("From a time on (RFC 3339), or from so long ago: 12h, 30d.")] = None,
    after: Annotated[int | None, Option("From behind a cursor on; 0 is the oldest event kept.")] = None,
    force: Annotated[bool, Option("Deliver again what has arrived, too, under the ids it had.")] = False,
    common: Common = DEFAULTS,
) -> None:
    """Deliver past events that match: those never queued, and dead ones. Each keeps its one delivery and webhook-id."""
    if (since is None) == (after is None):
        raise Usage("say from when: --since TIME or --after CURSOR")
    start = {"since": moment_from(since)} if since is not None else {}
    with common.client() as client:
        done = client.replay_subscription(subscription, after=after, force=force, **start)
    names = ("queued", "again", "kept", "cursor")
    common.show({"id": subscription, **done}, name=subscription, facts=[(name, done[name]) for name in names])
    if done["pruned"]:
        common.say("events before the oldest one kept are gone; the registry and the audit log still tell of them")
    common.next(f"muniment subscriptions deliveries {subscription}")


@app.command("rotate")
def rotate(
    subscription: str,
    /,
    *,
    old_valid_hours: Annotated[int, Option("How long the old secret signs beside the new one.")] = 24,
    common: Common = DEFAULTS,
) -> None:
    """Make a new signing secret. It is printed once."""
    with common.client() as client:
        made = client.rotate_secret(subscription, old_valid_hours=old_valid_hours)
    common.show(made, name=made.get("secret"), facts=made.items())


def _change(common: Common, subscription: str, changes: dict[str, Any]) -> None:
    with common.client() as client:
        found = client.change_subscription(subscription, changes)
    common.show(found, name=subscription, facts=[("subscription", subscription), ("state", found.get("state"))])


def _filter(item: Mapping[str, Any]) -> str:
    return cell(filters_of(item)) or "everything"


def _last_answer(item: Mapping[str, Any]) -> str:
    attempts = item.get("attempts") or [{}]
    return cell(attempts[-1].get("status") or attempts[-1].get("error"))
