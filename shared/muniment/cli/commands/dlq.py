"""`muniment dlq ls|show|retry`."""

from __future__ import annotations

from typing import Annotated

from muniment.cli.arguments import Command, Option
from muniment.cli.session import DEFAULTS, Common, Limit
from muniment.cli.text import cell, moment

app = Command(
    "muniment dlq",
    "Records that a service had to set aside: what they were, where they lay, and why.",
    example="muniment dlq ls ingest",
)

Service = Annotated[str, Option("ingest, checksum-validator, registry, audit or notifier.")]


@app.command("ls")
def ls(
    service: Service,
    /,
    *,
    retried: Annotated[bool, Option("Show those that were sent again too.")] = False,
    limit: Limit = 100,
    common: Common = DEFAULTS,
) -> None:
    """List the dead letters of a service."""
    with common.client() as client:
        common.rows(
            client.dead_letters(service, retried=retried),
            name=lambda item: item["id"],
            table=(
                ("ID", lambda item: cell(item["id"])),
                ("TOPIC", lambda item: cell(item.get("topic"))),
                ("PARTITION", lambda item: cell(item.get("partition"))),
                ("OFFSET", lambda item: cell(item.get("offset"))),
                ("CODE", lambda item: cell(item.get("code"))),
                ("SINCE", lambda item: moment(item.get("created_at"))),
                ("REASON", lambda item: cell(item.get("reason"))[:100]),
            ),
            limit=limit,
            empty=f"{service} has set nothing aside",
            then=f"muniment dlq show {service} ID",
        )


@app.command("show")
def show(service: Service, id: str, /, *, common: Common = DEFAULTS) -> None:  # noqa: A002  # reason: the argument's name
    """Show one dead letter with its bytes."""
    with common.client() as client:
        found = client.dead_letter(service, id)
    common.show(found, name=id, facts=found.items())
    common.next(f"muniment dlq retry {service} {id}")


@app.command("retry")
def retry(service: Service, id: str, /, *, common: Common = DEFAULTS) -> None:  # noqa: A002  # reason: the argument's name
    """Hand a dead letter to its service again."""
    with common.client() as client:
        found = client.retry_dead_letter(service, id)
    common.show(found, name=id, facts=[("handed to", service), ("id", id)])
