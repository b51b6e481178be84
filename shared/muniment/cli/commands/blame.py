"""`muniment blame`."""

from __future__ import annotations

from typing import Annotated

from muniment.cli.arguments import Command, Option
from muniment.cli.session import DEFAULTS, Column, Common, Limit
from muniment.cli.text import cell, moment, short

app = Command(
    "muniment blame",
    "For each field of a version's manifest: the version that last changed it, by whom and when.",
    example="muniment blame digits@main --field 'datasets.*'",
)

_TABLE: tuple[Column, ...] = (
    ("FIELD", lambda item: cell(item["field"])),
    ("VALUE", lambda item: short(cell(item["value"]))[:40]),
    ("VERSION", lambda item: cell(item["number"])),
    ("BRANCH", lambda item: cell(item["branch"])),
    ("CHANGED", lambda item: moment(item["committed_at"])),
    ("OPERATOR", lambda item: cell(item["operator"])),
)


@app.default
def blame(
    ref: str,
    /,
    *,
    field: Annotated[str, Option("A shell pattern that the fields' names fit: 'params.*'.")] = "*",
    tensors: Annotated[bool, Option("The tensors of safetensors files, too; their bytes are read once.")] = False,
    whole_graph: Annotated[bool, Option("Follow all parents, not the first ones alone.")] = False,
    limit: Limit = 0,
    common: Common = DEFAULTS,
) -> None:
    """Show which version last changed each field on the way to a reference."""
    with common.client() as client:
        found = client.blame(ref, fields=field, tensors=tensors, whole_graph=whole_graph)
    common.rows(
        sorted(found["fields"], key=lambda item: str(item["field"])),
        name=lambda item: item["id"],
        table=_TABLE,
        limit=limit,
        empty=f"{ref} has no such field",
        then=f"muniment versions show {found['model']}/NUMBER",
    )
