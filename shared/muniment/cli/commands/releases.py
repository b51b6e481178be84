"""`muniment release create|ls|show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from muniment.cli.arguments import Command, Option
from muniment.cli.session import DEFAULTS, Column, Common, Limit
from muniment.cli.text import cell, moment, short, size

if TYPE_CHECKING:
    from muniment.sdk.releases import Release, ReleaseOptions

app = Command(
    "muniment release",
    "Releases: versions under a semantic version, each a copy of its own that never moves.",
    example="muniment release create digits 1.2.0 --from digits@baseline --notes 'first for the edge devices'",
)

_TABLE: tuple[Column, ...] = (
    ("RELEASE", lambda item: f"{cell(item.get('model'))}@{cell(item['semver'])}"),
    ("ID", lambda item: short(item["id"])),
    ("OF", lambda item: cell((item.get("source") or {}).get("number"))),
    ("TRACK", lambda item: cell(item.get("track"))),
    ("COPY", lambda item: cell(item.get("copy"))),
    ("RELEASED", lambda item: moment(item.get("released_at"))),
    ("OPERATOR", lambda item: cell(item.get("operator"))),
    ("NOTES", lambda item: cell(item.get("notes"))[:60]),
)


@app.command("create")
def create(
    model: str,
    version: str,
    /,
    *,
    source: Annotated[str, Option("The version to release: a reference.", ("--from",))],
    track: Annotated[str | None, Option("Where it is kept; default production.")] = None,
    copy: Annotated[
        Literal["logical", "physical"],
        Option("logical: the version's own bytes are locked for it; physical: copied into the track's bucket."),
    ] = "logical",
    notes: Annotated[str | None, Option("For its readers; in the release's manifest.")] = None,
    reason: Annotated[str | None, Option("For the audit log.")] = None,
    force: Annotated[bool, Option("Although its bytes are damaged: admins alone; it is audited.")] = False,
    common: Common = DEFAULTS,
) -> None:
    """Release a version under a semantic version, for example 1.2.0. The same again changes nothing."""
    with common.client() as client:
        common.say("every byte is read before it is released ...")
        options: ReleaseOptions = {"track": track, "copy": copy, "notes": notes, "reason": reason}
        if force:
            options["force"] = True
        made = client.publish_release(model, version, ref=source, **options)
    _tell(common, made)
    common.next(f"muniment download {made.ref} DIR")


@app.command("ls")
def ls(model: str, /, *, limit: Limit = 100, common: Common = DEFAULTS) -> None:
    """List a model's releases, highest first."""
    with common.client() as client:
        common.rows(
            (item.raw for item in client.releases(model)),
            name=lambda item: item["semver"],
            table=_TABLE,
            limit=limit,
            empty=f"{model} has no releases yet: muniment release create {model} 1.0.0 --from {model}@baseline",
        )


@app.command("show")
def show(ref: str, /, *, common: Common = DEFAULTS) -> None:
    """Show a release: digits@1.2.0, or the highest in a range such as 'digits@^1.2'."""
    with common.client() as client:
        found = client.release(ref)
    _tell(common, found)
    common.next(f"muniment download {found.ref} DIR")


def _tell(common: Common, release: Release) -> None:
    source = release.raw.get("source") or {}
    place = release.raw.get("manifest_location") or {}
    common.show(
        release.raw,
        name=release.ref,
        facts=[
            ("release", release.ref),
            ("id", release.id),
            ("source", f"{release.model}/{source.get('number')}  {short(source.get('id'))}"),
            ("stable", not release.prerelease),
            ("track", release.track),
            ("copy", release.copy),
            ("released", moment(release.released_at)),
            ("operator", release.operator),
            ("notes", release.notes),
            ("manifest", f"{place.get('bucket')}/{place.get('key')}" if place else None),
            *(
                (f"file {file['path']}", f"{size(file['size'])}  {file.get('format', '')}  sha256:{file['sha256']}")
                for file in release.raw.get("files") or []
            ),
        ],
    )
