"""`muniment subscriptions ls|show|create|change|preview|pause|resume|delete|rotate|test|deliveries|retry|replay`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from muniment.cli.arguments import Command, Option
from muniment.cli.failures import Usage
from muniment.cli.session import DEFAULTS, Common, Limit
from muniment.cli.subscribing import Filters, Times, filters_of, id_of, moment_from, taken_away
from muniment.cli.text import cell, moment

app = Command(
    "muniment subscriptions",
    "Who is told of what: webhooks, Slack, Teams, e-mail, Kafka topics; retried until they arrive.\n"
    "SUBSCRIPTION is an id, or a name.",
    example="muniment subscriptions create deployer --webhook https://deploy.example/hook --signing ed25519\n"
    "  muniment subscriptions create team --email models@example.org --model 'dig*' --stability stable\n"
    "  muniment subscriptions change SUBSCRIPTION --model 'prod-*' --no branch --expires 30d\n"
    "  muniment subscriptions test SUBSCRIPTION",
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
                ("TO", lambda item: cell(item.get("url") or item.get("email") or item.get("topic"))),
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
        found = client.subscription(id_of(client, subscription))
    common.show(found, name=subscription, facts=found.items())
    common.next(f"muniment subscriptions deliveries {subscription}")


@app.command("create")
def create(
    name: str,
    /,
    *,
    webhook: Annotated[str | None, Option("A URL that events are posted to.", ("--webhook", "--url"))] = None,
    slack: Annotated[str | None, Option("The URL of a Slack incoming webhook.")] = None,
    teams: Annotated[str | None, Option("The URL of a Teams Workflows webhook.")] = None,
    email: Annotated[str | None, Option("An e-mail address.")] = None,
    kafka: Annotated[str | None, Option("A Kafka topic of your own, such as subscriber.NAME.")] = None,
    apprise: Annotated[str | None, Option("An Apprise URL, such as discord://ID/TOKEN.")] = None,
    format: Annotated[  # noqa: A002  # reason: the option's name
        Literal["cloudevents", "mlflow"] | None, Option("What a webhook's body is.")
    ] = None,
    signing: Annotated[Literal["hmac", "ed25519"] | None, Option("How a webhook is signed.")] = None,
    title: Annotated[str | None, Option("The heading of messages, such as '{model} {number} is out'.")] = None,
    filters: Filters = Filters(),  # noqa: B008  # reason: frozen
    times: Times = Times(),  # noqa: B008  # reason: frozen
    common: Common = DEFAULTS,
) -> None:
    """Subscribe through one channel. A webhook's signing secret is printed once."""
    ways = {"webhook": webhook, "slack": slack, "teams": teams, "email": email, "kafka": kafka, "apprise": apprise}
    settings = {"format": format, "signing": signing, "title": title}
    wanted = {"name": name, **_way(ways), **settings, **filters.fields(), **times.fields()}
    with common.client() as client:
        made = client.create_subscription({key: value for key, value in wanted.items() if value})
    common.show(made, name=made.get("id"), facts=made.items())
    if made.get("secret"):
        common.say("the secret is shown once: keep it where the receiver verifies signatures")
    if made.get("public_keys"):
        common.say("receivers verify signatures (v1a) with the public key; the private one stays with the service")
    common.next(f"muniment subscriptions test {made.get('id')}")


@app.command("change")
def change(
    subscription: str,
    /,
    *,
    name: str | None = None,
    owner: Annotated[str | None, Option("Who answers for it: ISSUER|SUBJECT, as whoami prints it.")] = None,
    to: Annotated[str | None, Option("Another URL, e-mail address or topic of the same channel.")] = None,
    title: Annotated[str | None, Option("The heading of messages.")] = None,
    state: Annotated[Literal["active", "paused"] | None, Option("Pause it, or deliver again.")] = None,
    no: Annotated[tuple[str, ...], Option("Take away: model, branch, tags, metrics, expires, digest and so on.")] = (),
    filters: Filters = Filters(),  # noqa: B008  # reason: frozen
    times: Times = Times(),  # noqa: B008  # reason: frozen
    common: Common = DEFAULTS,
) -> None:
    """Change what is given, and leave everything else as it is. One audit entry says from what to what."""
    plain = {"name": name, "owner": owner, "title": title, "paused": {"active": False, "paused": True}.get(state or "")}
    wanted: dict[str, Any] = {key: value for key, value in plain.items() if value is not None}
    wanted |= {**filters.fields(), **times.fields()}
    wanted |= taken_away(no, wanted)
    if not wanted and to is None:
        raise Usage("nothing is to be changed", expected="an option such as --model, --owner, --state or --no")
    with common.client() as client:
        subscription = id_of(client, subscription)
        if to is not None:
            channel = client.subscription(subscription)["channel"]
            wanted[_SETTINGS.get(channel, "url")] = to
        changed = client.change_subscription(subscription, wanted)
    common.show(changed, name=subscription, facts=changed.items())
    common.next(f"muniment audit ls --resource subscriptions/{subscription}")


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
        wanted = filters.fields() if like is None else filters_of(client.subscription(id_of(client, like)))
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
        client.delete_subscription(id_of(client, subscription))
    common.show({"id": subscription, "state": "deleted"}, name=subscription, facts=[("deleted", subscription)])


@app.command("test")
def try_out(subscription: str, /, *, common: Common = DEFAULTS) -> None:
    """Send a test event now, and show exactly what was sent and what came back."""
    with common.client() as client:
        found = client.test_subscription(id_of(client, subscription))
    request, answer = found.get("request") or {}, found.get("answer") or {}
    common.show(
        found,
        name="delivered" if found.get("delivered") else "failed",
        facts=[
            *((name, found.get(name)) for name in ("delivered", "latency_ms", "error", "detail")),
            ("sent", f"{request.get('method')} {request.get('url')}" if request else None),
            *((f"sent {name}", value) for name, value in request.get("headers", {}).items()),
            ("sent body", request.get("body")),
            ("answer", answer.get("status")),
            *((f"answer {name}", value) for name, value in answer.get("headers", {}).items()),
            ("answer body", answer.get("body")),
        ],
    )


@app.command("deliveries")
def deliveries(
    subscription: str,
    /,
    *,
    state: Annotated[Literal["gathered", "pending", "delivered", "dead"] | None, Option("Only those.")] = None,
    limit: Limit = 100,
    common: Common = DEFAULTS,
) -> None:
    """List a subscription's deliveries, newest first. `retry` takes their ids."""
    with common.client() as client:
        common.rows(
            client.deliveries(id_of(client, subscription), state=state),
            name=lambda item: item["id"],
            table=(
                ("DELIVERY", lambda item: cell(item["id"])),
                ("TYPE", lambda item: cell(item.get("type"))),
                ("MODEL", lambda item: cell(item.get("model"))),
                ("STATE", lambda item: cell(item.get("state"))),
                ("ATTEMPTS", lambda item: cell(len(item.get("attempts") or []))),
                ("ANSWER", _last_answer),
                ("CREATED", lambda item: moment(item.get("created_at"))),
                ("NEXT", lambda item: moment(item.get("due_at"))),
            ),
            limit=limit,
            empty="nothing was delivered yet" if state is None else f"no delivery is {state}",
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
        done = client.replay_subscription(id_of(client, subscription), after=after, force=force, **start)
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
        made = client.rotate_secret(id_of(client, subscription), old_valid_hours=old_valid_hours)
    common.show(made, name=made.get("secret") or made.get("public_key"), facts=made.items())


def _change(common: Common, subscription: str, changes: dict[str, Any]) -> None:
    with common.client() as client:
        found = client.change_subscription(id_of(client, subscription), changes)
    common.show(found, name=subscription, facts=[("subscription", subscription), ("state", found.get("state"))])


_SETTINGS = {"email": "email", "kafka": "topic"}
"""Channels whose address is no URL: the setting that holds it."""


def _way(ways: Mapping[str, str | None]) -> dict[str, str]:
    """The one channel that was named, and its address."""
    named = {channel: address for channel, address in ways.items() if address}
    if len(named) != 1:
        raise Usage(
            "a subscription has one channel",
            expected="one of " + ", ".join(f"--{channel}" for channel in ways),
            actual=", ".join(f"--{channel}" for channel in named) or "none",
        )
    ((channel, address),) = named.items()
    return {"channel": channel, _SETTINGS.get(channel, "url"): address}


def _filter(item: Mapping[str, Any]) -> str:
    return cell(filters_of(item)) or "everything"


def _last_answer(item: Mapping[str, Any]) -> str:
    attempts = item.get("attempts") or [{}]
    return cell(attempts[-1].get("status") or attempts[-1].get("error"))
