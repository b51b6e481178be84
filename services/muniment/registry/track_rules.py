"""What a track asks of a version, and how a track may change. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, StrictBool, StrictInt

from muniment.contracts.errors import Conflict, Rejected
from muniment.contracts.events import Change, Gate
from muniment.contracts.model import Payload, Word
from muniment.registry.domain import Track, signature_text
from muniment.registry.gates import check_gate

MAX_TRACKS: Final = 200
_LONGEST_S: Final = 100 * 366 * 24 * 3600
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class TrackChange(Payload):
    """What a track is to be from now on. What is left out stays; null takes a bucket, formats or checks away.

    `retention_s` is seconds; `formats` are words that the validator finds (`safetensors`, `onnx`, ...).
    """

    lock_mode: Literal["COMPLIANCE", "GOVERNANCE"] | None = None
    retention_s: Annotated[StrictInt, Field(ge=1, le=_LONGEST_S)] | None = None
    bucket: Word | None = None
    formats: Annotated[tuple[Word, ...], Field(min_length=1, max_length=100)] | None = None
    checks: Annotated[tuple[Word, ...], Field(max_length=100)] | None = None
    signature_required: StrictBool | None = None


def track_name(text: str) -> str:
    """The text as a track's name. Raises `Rejected` (`track_name_invalid`)."""
    if not _NAME.fullmatch(text):
        raise Rejected(
            "track_name_invalid",
            "the track name is not allowed",
            expected="1 to 63 of a-z, 0-9 and '-', not '-' at an end",
            actual=repr(text[:80]),
        )
    return text


def changed(name: str, before: Track | None, change: TrackChange) -> Track:
    """The track after the change; a new one is COMPLIANCE unless it says otherwise.

    Raises `Conflict` (`track_weakened`) and `Rejected` (`retention_missing`). A shorter retention is allowed: it is for
    later versions, what is locked stays locked.
    """
    given = change.model_fields_set
    retention_s = change.retention_s or (before.retention_s if before else None)
    if retention_s is None:
        raise Rejected(
            "retention_missing",
            f"a new track needs a retention, and there is no track {name!r}",
            expected="retention_s, in seconds",
            hint=f"muniment tracks set {name} --retention 30d",
        )
    if before is not None and before.lock_mode == "COMPLIANCE" and change.lock_mode == "GOVERNANCE":
        raise Conflict(
            "track_weakened",
            f"the track {name!r} cannot be weakened",
            expected="COMPLIANCE",
            actual="GOVERNANCE",
            hint="make another track for what needs less",
        )
    track = before or Track(name, "COMPLIANCE", retention_s)
    formats = None if change.formats is None else frozenset(change.formats)
    return Track(
        name,
        change.lock_mode or track.lock_mode,
        retention_s,
        change.bucket if "bucket" in given else track.bucket,
        formats if "formats" in given else track.formats,
        tuple(dict.fromkeys(change.checks or ())) if "checks" in given else track.checks,
        bool(change.signature_required) if "signature_required" in given else track.signature_required,
    )


def differences(before: Track | None, after: Track) -> list[Change]:
    """The fields that differ, as the audit entry tells them."""
    old, new = _plain(before), _plain(after)
    return [Change(path=name, before=old[name], after=new[name]) for name in new if old[name] != new[name]]


def check_gates(track: Track, outcomes: Mapping[str, bool], ref: str) -> list[Gate]:
    """A gate for each check that the track asks of the version `ref`; `outcomes` has the newest of each reported."""
    return [check_gate(name, outcomes.get(name), ref) for name in track.checks]


def signature_gates(track: Track, status: str, code: str | None, uncovered: int, ref: str) -> list[Gate]:
    """A gate where the track asks for a signature of the version `ref`."""
    if not track.signature_required:
        return []
    passed = status == "verified" and not uncovered
    return [
        Gate(
            name="signature",
            passed=passed,
            expected="verified, over every file",
            actual=signature_text(status, code, uncovered),
            hint=None if passed else f"muniment versions verify-signature {ref} --record",
        )
    ]


def checks_missing(track: Track, outcomes: Mapping[str, bool], ref: str) -> Conflict | None:
    """`Conflict` (`checks_missing`) where the version `ref` has not passed a check that the track asks for."""
    shut = [gate for gate in check_gates(track, outcomes, ref) if not gate.passed]
    if not shut:
        return None
    return Conflict(
        "checks_missing",
        f"the track {track.name!r} asks for checks that the version has not passed",
        expected=f"passed: {', '.join(track.checks)}",
        actual="; ".join(f"{gate.name}: {gate.actual}" for gate in shut),
        hint=shut[0].hint,
    )


def _plain(track: Track | None) -> dict[str, str | int | list[str] | None]:
    names = ("lock_mode", "retention_s", "bucket", "formats", "checks", "signature_required")
    if track is None:
        return dict.fromkeys(names)
    formats = None if track.formats is None else sorted(track.formats)
    signed = track.signature_required or None
    values = (track.lock_mode, track.retention_s, track.bucket, formats, list(track.checks) or None, signed)
    return dict(zip(names, values, strict=True))
