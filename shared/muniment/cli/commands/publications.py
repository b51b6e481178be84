"""`muniment publications ls|show|abandon`."""

from __future__ import annotations

from typing import Annotated

from muniment.cli.arguments import Command, Option
from muniment.cli.session import DEFAULTS, Common, Limit
from muniment.cli.text import cell, moment, size

app = Command(
    "muniment publications",
    "Attempts to turn finished runs into versions, and how far each has come.",
    example="muniment publications ls --model digits --stage rejected",
)


@app.command("ls")
def ls(
    *,
    model: str | None = None,
    stage: str | None = None,
    limit: Limit = 100,
    common: Common = DEFAULTS,
) -> None:
    """List publications, newest first."""
    with common.client() as client:
        common.rows(
            (item.raw for item in client.publications(model=model, stage=stage)),
            name=lambda item: item["id"],
            table=(
                ("PUBLICATION", lambda item: cell(item["id"])),
                ("MODEL", lambda item: cell(item.get("model"))),
                ("STAGE", lambda item: cell(item["stage"])),
                ("BRANCH", lambda item: cell(item.get("branch"))),
                ("UPDATED", lambda item: moment(item.get("updated_at"))),
            ),
            limit=limit,
            empty="there are no publications",
        )


@app.command("show")
def show(
    publication: str,
    /,
    *,
    wait: Annotated[bool, Option("Wait until it is settled, a minute at most.")] = False,
    common: Common = DEFAULTS,
) -> None:
    """Show one publication: its stage, its version or why it was rejected."""
    with common.client() as client:
        found = client.publication(publication, wait=60.0 if wait else 0.0)
    progress = found.progress or {}
    rejection = found.rejection or {}
    common.show(
        found.raw,
        name=found.version.id if found.version else found.id,
        facts=[
            ("publication", found.id),
            ("model", found.model),
            ("branch", found.branch),
            ("stage", found.stage),
            ("operator", found.operator),
            ("updated", moment(found.updated_at)),
            ("checked", f"{size(progress['bytes_done'])} of {size(progress['bytes_total'])}" if progress else None),
            ("version", found.version.ref if found.version else None),
            ("id", found.version.id if found.version else None),
            *((f"rejected: {name}", rejection.get(name)) for name in ("code", "message", "file", "expected", "actual")),
        ],
    )
    if found.version:
        common.next(f"muniment download {found.version.ref} DIR")


@app.command("abandon")
def abandon(publication: str, /, *, common: Common = DEFAULTS) -> None:
    """Give an upload up."""
    with common.client() as client:
        client.abandon(publication)
    common.show({"id": publication, "stage": "abandoned"}, name=publication, facts=[("abandoned", publication)])
