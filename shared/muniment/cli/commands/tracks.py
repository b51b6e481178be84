"""`muniment tracks ls|show|set`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from muniment.cli.arguments import Command, Option
from muniment.cli.failures import Usage
from muniment.cli.session import DEFAULTS, Common, Limit
from muniment.cli.text import cell, moment

app = Command(
    "muniment tracks",
    "Tracks: where versions and releases are kept, how long they are locked, what they must be and have passed.",
    example="muniment tracks set edge --retention 90d --bucket edge-models --format safetensors --check fairness",
)

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "y": 365 * 86_400}
_SPAN: Final = re.compile(r"([1-9][0-9]{0,9})([smhdy])")


@app.command("ls")
def ls(*, limit: Limit = 100, common: Common = DEFAULTS) -> None:
    """List tracks."""
    with common.client() as client:
        common.rows(
            client.tracks(),
            name=lambda item: item["name"],
            table=(
                ("TRACK", lambda item: cell(item["name"])),
                ("LOCK", lambda item: cell(item.get("lock_mode"))),
                ("RETENTION", lambda item: span(item["retention_s"])),
                ("BUCKET", lambda item: cell(item.get("bucket"))),
                ("FORMATS", lambda item: cell(item.get("formats")) or "any"),
                ("CHECKS", lambda item: cell(item.get("checks")) or "none"),
            ),
            limit=limit,
            empty="there are no tracks",
            then="muniment tracks show TRACK",
        )


@app.command("show")
def show(track: str, /, *, common: Common = DEFAULTS) -> None:
    """Show one track."""
    with common.client() as client:
        found = client.track(track)
    _tell(common, found)
    common.next(f"muniment tracks set {track} --retention 90d")


@app.command("set")
def set_(
    track: str,
    /,
    *,
    retention: Annotated[str | None, Option("How long bytes are locked: 90d, 12h, 3600s, 2y.")] = None,
    lock: Annotated[Literal["COMPLIANCE", "GOVERNANCE"] | None, Option("How; never weaker than it is.")] = None,
    bucket: Annotated[str | None, Option("The bucket of its releases; '' for the default one.")] = None,
    format: Annotated[tuple[str, ...], Option("A format that it takes; may be repeated.")] = (),  # noqa: A002  # reason: the option's name
    any_format: Annotated[bool, Option("It takes any format again.")] = False,
    check: Annotated[tuple[str, ...], Option("A check that it asks for; may be repeated.")] = (),
    no_checks: Annotated[bool, Option("It asks for no checks any more.")] = False,
    signed: Annotated[bool, Option("It takes only what has a verified signature over every file.")] = False,
    unsigned: Annotated[bool, Option("It asks for no signature any more.")] = False,
    common: Common = DEFAULTS,
) -> None:
    """Make a track, or change one. What is left out stays; what is locked stays locked."""
    if (any_format and format) or (no_checks and check) or (signed and unsigned):
        pairs = "--format or --any-format, --check or --no-checks, --signed or --unsigned"
        raise Usage("two options contradict each other", expected=pairs)
    change: dict[str, Any] = {}
    if retention is not None:
        change["retention_s"] = seconds(retention)
    if lock is not None:
        change["lock_mode"] = lock
    if bucket is not None:
        change["bucket"] = bucket or None
    if format or any_format:
        change["formats"] = list(format) or None
    if check or no_checks:
        change["checks"] = list(check)
    if signed or unsigned:
        change["signature_required"] = signed
    if not change:
        raise Usage("nothing is to be changed", hint=f"muniment tracks set {track} --retention 90d")
    with common.client() as client:
        made = client.change_track(track, change)
    _tell(common, made)
    common.next(f"muniment release create MODEL 1.0.0 --from REF --track {track}")


def seconds(text: str) -> int:
    """A span of time such as `90d` in seconds. Raises `Usage`."""
    match = _SPAN.fullmatch(text)
    if match is None:
        raise Usage("the retention is not understood", expected="a number and s, m, h, d or y: 90d", actual=repr(text))
    return int(match[1]) * _UNITS[match[2]]


def span(count: int) -> str:
    """Seconds in the largest unit that fits without a rest: `90d`."""
    unit = max((one for one in _UNITS if count % _UNITS[one] == 0), key=lambda one: _UNITS[one])
    return f"{count // _UNITS[unit]}{unit}"


def _tell(common: Common, track: Mapping[str, Any]) -> None:
    common.show(
        track,
        name=track["name"],
        facts=[
            ("track", track["name"]),
            ("lock", track.get("lock_mode")),
            ("retention", span(track["retention_s"])),
            ("bucket", track.get("bucket")),
            ("formats", track.get("formats") or "any"),
            ("checks", track.get("checks") or "none"),
            ("signature", "required" if track.get("signature_required") else "not asked for"),
            ("created", f"{moment(track.get('created_at'))} by {cell(track.get('created_by'))}"),
            ("changed", f"{moment(track['changed_at'])} by {track['changed_by']}" if track.get("changed_at") else None),
        ],
    )
