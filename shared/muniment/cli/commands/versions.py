"""`muniment versions ls|show` and `muniment log`."""

from __future__ import annotations

from muniment.cli.arguments import Command
from muniment.cli.session import DEFAULTS, Column, Common, Limit
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
def ls(model: str, /, *, branch: str | None = None, limit: Limit = 100, common: Common = DEFAULTS) -> None:
    """List a model's versions, newest first."""
    with common.client() as client:
        common.rows(
            (item.raw for item in client.versions(model, branch=branch)),
            name=lambda item: item["id"],
            table=_TABLE,
            limit=limit,
            empty=f"{model} has no versions" + (f" on {branch}" if branch else ""),
        )


@app.command("show")
def show(ref: str, /, *, common: Common = DEFAULTS) -> None:
    """Show what a reference means: the version, its manifest and its files."""
    with common.client() as client:
        found = client.version(ref)
    manifest = found.raw.get("manifest") or {}
    release = found.raw.get("release") or {}
    ref = f"{found.model}@{release['semver']}" if release else found.ref
    common.show(
        found.raw,
        name=found.id,
        facts=[
            ("version", found.ref),
            ("id", found.id),
            ("release", f"{ref}  {release['id']}, {release['copy']} in {release['track']}" if release else None),
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
            *(
                (f"file {file['path']}", f"{size(file['size'])}  {file.get('format', '')}  sha256:{file['sha256']}")
                for file in found.raw.get("files") or []
            ),
        ],
    )
    common.next(f"muniment download {ref} DIR")


@log_app.default
def log(ref: str, /, *, limit: Limit = 100, common: Common = DEFAULTS) -> None:
    """Walk back from a reference along its branch."""
    with common.client() as client:
        common.rows(
            (item.raw for item in client.log(ref)),
            name=lambda item: item["id"],
            table=_TABLE,
            limit=limit,
            empty=f"{ref} has no history",
        )
