"""`muniment subscriptions ls|show|create|pause|resume|delete|test|deliveries`."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from muniment.cli.session import DEFAULTS, Common, Limit, application
from muniment.cli.text import cell, moment

app = application(
    "muniment subscriptions",
    "Who is told of what: webhooks with Standard Webhooks signatures, retried until they arrive.",
    example="muniment subscriptions create deployer --url https://deploy.example/hook --model digits",
)


@app.command(name="ls")
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
                ("FILTER", lambda item: cell(item.get("filter")) or "everything"),
                ("STATE", lambda item: cell(item.get("state"))),
                ("OWNER", lambda item: cell(item.get("owner"))),
            ),
            limit=limit,
            empty="there are no subscriptions",
        )


@app.command(name="show")
def show(subscription: str, *, common: Common = DEFAULTS) -> None:
    """Show one subscription."""
    with common.client() as client:
        found = client.subscription(subscription)
    common.show(found, name=subscription, facts=found.items())
    common.next(f"muniment subscriptions deliveries {subscription}")


@app.command(name="create")
def create(
    name: str,
    *,
    url: Annotated[str, Parameter(help="The URL that is posted to.")],
    type: Annotated[tuple[str, ...], Parameter(help="An event type, such as version-available; all without it.")] = (),  # noqa: A002  # reason: the option's name
    model: Annotated[str | None, Parameter(help="A model, or a pattern with * and ?.")] = None,
    branch: Annotated[str | None, Parameter(help="A branch, or a pattern; * also crosses /.")] = None,
    stability: Annotated[str | None, Parameter(help="experimental, candidate or stable.")] = None,
    track: str | None = None,
    common: Common = DEFAULTS,
) -> None:
    """Make a webhook subscription. Its signing secret is printed once."""
    wishes = {"types": list(type), "model": model, "branch": branch, "stability": stability, "track": track}
    body = {
        "name": name,
        "channel": "webhook",
        "config": {"url": url},
        "filter": {key: value for key, value in wishes.items() if value},
    }
    with common.client() as client:
        made = client.create_subscription(body)
    common.show(made, name=made.get("id"), facts=made.items())
    if "secret" in made:
        common.say("the secret is shown once: keep it where the receiver verifies signatures")
    common.next(f"muniment subscriptions test {made.get('id')}")


@app.command(name="pause")
def pause(subscription: str, *, common: Common = DEFAULTS) -> None:
    """Stop deliveries until it is resumed; events go on being recorded for it."""
    _change(common, subscription, {"state": "paused"})


@app.command(name="resume")
def resume(subscription: str, *, common: Common = DEFAULTS) -> None:
    """Deliver again, what was recorded meanwhile included."""
    _change(common, subscription, {"state": "active"})


@app.command(name="delete")
def delete(subscription: str, *, common: Common = DEFAULTS) -> None:
    """Delete a subscription."""
    with common.client() as client:
        client.delete_subscription(subscription)
    common.show({"id": subscription, "state": "deleted"}, name=subscription, facts=[("deleted", subscription)])


@app.command(name="test")
def try_out(subscription: str, *, common: Common = DEFAULTS) -> None:
    """Send a test event now, and show what was sent and what came back."""
    with common.client() as client:
        found = client.test_subscription(subscription)
    common.show(found, name=subscription, facts=found.items())


@app.command(name="deliveries")
def deliveries(subscription: str, *, limit: Limit = 100, common: Common = DEFAULTS) -> None:
    """List a subscription's deliveries, newest first."""
    with common.client() as client:
        common.rows(
            client.deliveries(subscription),
            name=lambda item: item["id"],
            table=(
                ("DELIVERY", lambda item: cell(item["id"])),
                ("TYPE", lambda item: cell(item.get("type"))),
                ("STATE", lambda item: cell(item.get("state"))),
                ("ATTEMPTS", lambda item: cell(_count(item.get("attempts")))),
                ("CREATED", lambda item: moment(item.get("created_at"))),
                ("NEXT", lambda item: moment(item.get("due_at")) if item.get("state") == "pending" else ""),
            ),
            limit=limit,
            empty="nothing was delivered yet",
        )


def _change(common: Common, subscription: str, changes: dict[str, Any]) -> None:
    with common.client() as client:
        found = client.change_subscription(subscription, changes)
    common.show(found, name=subscription, facts=[("subscription", subscription), ("state", found.get("state"))])


def _count(attempts: Any) -> Any:
    return len(attempts) if isinstance(attempts, list) else attempts
