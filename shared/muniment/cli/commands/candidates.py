"""`muniment candidates ls|refuse` and `muniment commit`."""

from __future__ import annotations

from typing import Annotated

from muniment.cli import options
from muniment.cli.arguments import Command, Option
from muniment.cli.session import DEFAULTS, Common, Limit
from muniment.cli.text import cell, moment

app = Command(
    "muniment candidates",
    "Finished runs that were checked and wait for a person to commit or refuse them.",
    example="muniment candidates ls --model digits",
)
commit_app = Command(
    "muniment commit",
    "Make a candidate a version. What is left out stays as the publisher gave it; tags are added.",
    example="muniment commit 0b5f... --tag reviewed=yes --description 'best of the sweep' --branch main",
)


@app.command("ls")
def ls(*, model: str | None = None, limit: Limit = 100, common: Common = DEFAULTS) -> None:
    """List candidates."""
    with common.client() as client:
        common.rows(
            (item.raw for item in client.candidates(model=model)),
            name=lambda item: item["publication"],
            table=(
                ("PUBLICATION", lambda item: cell(item["publication"])),
                ("MODEL", lambda item: cell(item.get("model"))),
                ("BRANCH", lambda item: cell(item.get("branch"))),
                ("METRICS", lambda item: cell(item.get("metrics"))),
                ("OPERATOR", lambda item: cell(item.get("operator"))),
                ("VALIDATED", lambda item: moment(item.get("validated_at"))),
            ),
            limit=limit,
            empty="no candidate is waiting",
            then="muniment commit PUBLICATION --tag NAME=TEXT --description TEXT",
        )


@app.command("refuse")
def refuse(publication: str, /, *, reason: str, common: Common = DEFAULTS) -> None:
    """End a candidate without a version."""
    with common.client() as client:
        client.refuse(publication, reason=reason)
    common.show(
        {"publication": publication, "state": "refused", "reason": reason},
        name=publication,
        facts=[("refused", publication), ("reason", reason)],
    )


@commit_app.default
def commit(
    publication: str,
    /,
    *,
    tag: Annotated[tuple[str, ...], Option("NAME=TEXT.")] = (),
    description: str | None = None,
    experiment: Annotated[str | None, Option("The experiment's id.")] = None,
    branch: str | None = None,
    track: str | None = None,
    common: Common = DEFAULTS,
) -> None:
    """Make a candidate a version."""
    with common.client() as client:
        version = client.commit(
            publication,
            tags=options.pairs(tag, "--tag"),
            description=description,
            experiment_id=experiment,
            branch=branch,
            track=track,
        )
    common.show(
        version.raw,
        name=version.id,
        facts=[("version", version.ref), ("id", version.id), ("branch", version.branch), ("track", version.track)],
    )
    common.next(f"muniment download {version.ref} DIR")
