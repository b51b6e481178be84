"""`muniment versions ls|show|describe` and `muniment log`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from muniment.cli import options
from muniment.cli.arguments import Command, Option
from muniment.cli.session import DEFAULTS, At, Column, Common, Limit
from muniment.cli.text import cell, moment, short, size

app = Command("muniment versions", "The versions of a model.", example="muniment versions show digits@main")
log_app = Command(
    "muniment log",
    "The versions on the way back from a reference along its branch, newest first.",
    example="muniment log digits@exp/dropout",
)

_TABLE: tuple[Column, ...] = (
    ("VERSION", lambda item: f"{cell(item.get('model'))}/{item['number']}"),
    ("ID", lambda item: short(item["id"])),
    ("BRANCH", lambda item: cell(item.get("branch"))),
    ("TRACK", lambda item: cell(item.get("track"))),
    ("SIZE", lambda item: size(item["size"]) if isinstance(item.get("size"), int) else ""),
    ("COMMITTED", lambda item: moment(item.get("committed_at"))),
    ("OPERATOR", lambda item: cell(item.get("operator"))),
    ("DESCRIPTION", lambda item: cell(item.get("description"))[:60]),
)


@app.command("ls")
def ls(
    model: str, /, *, branch: str | None = None, at: At = None, limit: Limit = 100, common: Common = DEFAULTS
) -> None:
    """List a model's versions, newest first."""
    with common.client() as client:
        common.rows(
            (item.raw for item in client.versions(model, branch=branch, at=at)),
            name=lambda item: item["id"],
            table=_TABLE,
            limit=limit,
            empty=f"{model} has no versions" + (f" on {branch}" if branch else ""),
        )


@app.command("show")
def show(ref: str, /, *, at: At = None, common: Common = DEFAULTS) -> None:
    """Show what a reference means, or meant: the version, its manifest and its files."""
    with common.client() as client:
        found = client.version(ref, at=at)
    manifest = found.raw.get("manifest") or {}
    common.show(
        found.raw,
        name=found.id,
        facts=[
            ("version", found.ref),
            ("id", found.id),
            ("branch", found.branch),
            ("previous", found.previous),
            ("stability", found.stability),
            ("track", found.track),
            ("operator", found.operator),
            ("committed", moment(found.committed_at)),
            ("description", found.description),
            ("tags", found.raw.get("tags")),
            *((name, manifest.get(name)) for name in ("run_id", "experiment_id", "params", "hyperparams", "metrics")),
            ("datasets", [item.get("name") for item in manifest.get("datasets", [])]),
            ("parents", [f"{short(item['id'])} ({item['kind']})" for item in manifest.get("parents", [])]),
            ("reproduces", _reproduction(found.raw.get("reproduces"))),
            ("reproduced by", [_reproduction(item) for item in found.raw.get("reproduced_by") or []]),
            *(
                (f"file {file['path']}", f"{size(file['size'])}  {file.get('format', '')}  sha256:{file['sha256']}")
                for file in found.raw.get("files") or []
            ),
        ],
    )
    common.next(f"muniment download {found.ref} DIR")


@app.command("describe")
def describe(
    ref: str,
    /,
    *,
    description: str | None = None,
    no_description: Annotated[bool, Option("Take the description away.")] = False,
    tag: Annotated[tuple[str, ...], Option("NAME=TEXT; NAME alone takes the tag away.")] = (),
    common: Common = DEFAULTS,
) -> None:
    """Change a version's description and tags; each change is audited and can be reverted."""
    gone = {name: None for name in tag if "=" not in name}
    tags = {**gone, **options.pairs([one for one in tag if "=" in one], "--tag")}
    with common.client() as client:
        found = client.describe(ref, description=description, tags=tags, clear=no_description)
    common.show(
        found,
        name=found["id"],
        facts=[
            ("version", f"{found['model']}/{found['number']}"),
            ("description", found["description"]),
            ("tags", found["tags"]),
        ],
    )


def _reproduction(item: Mapping[str, Any] | None) -> str:
    return f"{cell(item.get('model'))}/{item['number']} ({item['outcome']})" if item else ""


@log_app.default
def log(ref: str, /, *, at: At = None, limit: Limit = 100, common: Common = DEFAULTS) -> None:
    """Walk back from a reference along its branch."""
    with common.client() as client:
        common.rows(
            (item.raw for item in client.log(ref, at=at)),
            name=lambda item: item["id"],
            table=_TABLE,
            limit=limit,
            empty=f"{ref} has no history",
        )
