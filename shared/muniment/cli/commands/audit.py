"""`muniment audit ls|show|verify`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from muniment.cli.arguments import Command, Option
from muniment.cli.session import DEFAULTS, Common, Limit
from muniment.cli.text import cell, moment

app = Command(
    "muniment audit",
    "The audit log: who did what, when, with which changes, and what caused it.",
    example="muniment audit ls --model digits --action version.committed --newest",
)


@app.command("ls")
def ls(
    *,
    model: str | None = None,
    action: Annotated[str | None, Option("Such as version.committed.")] = None,
    operator: str | None = None,
    resource: Annotated[str | None, Option("Such as models/digits/versions/3.")] = None,
    publication: Annotated[str | None, Option("Everything that a publication caused.")] = None,
    outcome: Literal["done", "refused"] | None = None,
    since: Annotated[str | None, Option("From this time on (RFC 3339).")] = None,
    until: Annotated[str | None, Option("Before this time (RFC 3339).")] = None,
    after_index: int | None = None,
    newest: Annotated[bool, Option("The newest first.")] = False,
    limit: Limit = 100,
    common: Common = DEFAULTS,
) -> None:
    """List entries, the oldest first."""
    with common.client() as client:
        entries = client.audit_entries(
            model=model,
            action=action,
            operator=operator,
            resource=resource,
            correlation=publication,
            outcome=outcome,
            since=since,
            until=until,
            after_index=after_index,
            order="newest" if newest else "oldest",
        )
        common.rows(
            (item.raw for item in entries),
            name=lambda item: item["index"],
            table=(
                ("INDEX", lambda item: cell(item["index"])),
                ("TIME", lambda item: moment(item["entry"].get("log_time"))),
                ("OPERATOR", lambda item: cell(item["entry"].get("operator"))),
                ("ACTION", lambda item: cell(item["entry"].get("action"))),
                ("RESOURCE", lambda item: cell(item["entry"].get("resource"))),
                ("OUTCOME", lambda item: cell(item["entry"].get("outcome"))),
            ),
            limit=limit,
            empty="no entry fits",
            then="muniment audit show INDEX",
        )


@app.command("show")
def show(index: int, /, *, common: Common = DEFAULTS) -> None:
    """Show one entry with its changes, its cause and its place in the tree."""
    with common.client() as client:
        found = client.audit_entry(index)
    entry = found.entry
    common.show(
        found.raw,
        name=found.index,
        facts=[
            ("index", found.index),
            *((name, value) for name, value in entry.items() if name not in {"v", "changes"}),
            *((f"changed {cell(change.get('path'))}", _change(change)) for change in entry.get("changes", [])),
            ("leaf hash", found.leaf_hash),
            ("covered by", found.raw.get("covered_by")),
        ],
    )


def _change(change: Mapping[str, Any]) -> str:
    return f"{cell(change.get('before')) or '(nothing)'} -> {cell(change.get('after')) or '(nothing)'}"


@app.command("verify")
def verify(
    *,
    key: Annotated[
        tuple[str, ...], Option("A key of the log, NAME+ID+BASE64, or a file of keys; may be repeated.")
    ] = (),
    witness: Annotated[tuple[str, ...], Option("A key of a witness, or a file of keys; may be repeated.")] = (),
    require: Annotated[int | None, Option("How many of the witnesses must have cosigned; by default all.")] = None,
    only: Annotated[str | None, Option("Some layers alone: tiles,topic,postgres,objects.")] = None,
    json: Annotated[bool, Option("One JSON object on stdout.")] = False,
) -> int:
    """Hold tiles, topic, Postgres and object store against each other; 1 when one disagrees.

    Reads the parts themselves, by the settings of the server. Who trusts none of them takes `muniment-verify`.
    """
    from muniment.cli.commands.server import server_commands

    layers = () if only is None else tuple(word for word in only.split(",") if word)
    commands = server_commands()
    return int(
        commands.audit_verify(
            keys=[_text(one) for one in key],
            witnesses=[_text(one) for one in witness],
            require=require,
            only=layers,
            json=json,
        )
    )


def _text(place: str) -> str:
    """The text of a file of keys; a key is its own text."""
    from pathlib import Path

    return Path(place).read_text("utf-8") if Path(place).is_file() else place
