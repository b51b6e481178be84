"""`muniment models ls|show`."""

from __future__ import annotations

from muniment.cli.arguments import Command
from muniment.cli.session import DEFAULTS, Common, Limit
from muniment.cli.text import cell, moment, short

app = Command("muniment models", "Models.", example="muniment models ls")


@app.command("ls")
def ls(*, limit: Limit = 100, common: Common = DEFAULTS) -> None:
    """List models."""
    with common.client() as client:
        common.rows(
            (item.raw for item in client.models()),
            name=lambda item: item["name"],
            table=(
                ("MODEL", lambda item: cell(item["name"])),
                ("VERSIONS", lambda item: cell(item.get("versions"))),
                ("NEWEST", lambda item: short(item.get("newest_id"))),
                ("BRANCH", lambda item: cell(item.get("newest_branch"))),
                ("COMMITTED", lambda item: moment(item.get("newest_at"))),
            ),
            limit=limit,
            empty="there are no models yet: muniment publish DIR --model NAME",
        )


@app.command("show")
def show(model: str, /, *, common: Common = DEFAULTS) -> None:
    """Show one model and its branches."""
    with common.client() as client:
        found = client.model(model)
    common.show(
        found.raw,
        name=found.name,
        facts=[
            ("model", found.name),
            ("versions", found.versions),
            ("created", moment(found.created_at)),
            (
                "branches",
                [f"{branch['name']} (at {branch['head_number']})" for branch in found.raw.get("branches", [])],
            ),
        ],
    )
    common.next(f"muniment versions ls {found.name}")
