"""Releases and tracks as calls, and which manifest and files a reference to a release stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypedDict
from urllib.parse import quote

from muniment.contracts.errors import NotFound
from muniment.contracts.semver import parse_semver
from muniment.sdk import calls
from muniment.sdk.exchange import Call, Listing, ask_json, request
from muniment.sdk.records import Record, Version

_COPY_WAIT_S: Final = 1800.0
"""How long a server may take for a release: it reads every byte, and may copy them."""


class ReleaseOptions(TypedDict, total=False):
    """What may be said of a release."""

    track: str | None
    """Where it is kept; default `production`."""
    copy: Literal["logical", "physical"]
    """`physical`: the bytes are copied into the track's bucket; default `logical`: the version's own are locked."""
    notes: str | None
    reason: str | None
    """For the audit entry."""
    force: bool | None
    """Release damaged bytes all the same: for admins."""


@dataclass(frozen=True, kw_only=True)
class Release(Record):
    """A released version."""

    model: str
    semver: str
    id: str
    """The digest of the release's own manifest."""
    prerelease: bool = False
    track: str | None = None
    copy: str | None = None
    notes: str | None = None
    operator: str | None = None
    released_at: str | None = None

    @property
    def ref(self) -> str:
        """The reference that always means this release."""
        return f"{self.model}@{self.semver}"


def publish_release(model: str, version: str, ref: str, options: Mapping[str, Any]) -> Call[Release]:
    """Release a version; the same of the same source again answers the same."""
    parse_semver(version)  # no server is needed to say what a semantic version is
    body = {name: value for name, value in options.items() if value is not None}
    body |= {"version": version, "ref": str(calls.parsed(ref))}
    wanted = request("registry", "POST", _place(model), body=body, safe=True, wait=_COPY_WAIT_S)
    return Release.of((yield from ask_json(wanted)))


def releases(model: str) -> Listing:
    """The releases of a model, highest first."""
    return Listing("registry", _place(model))


def release(ref: str) -> Call[Release]:
    """The release that a reference means: `digits@1.2.0`, or the highest in `digits@^1.2`.

    Raises `NotFound` (`release_not_found`, ...), also where the reference means a version.
    """
    wanted = calls.parsed(ref)
    semver = wanted.value
    if wanted.kind != "release":
        version = yield from calls.version(ref)
        found = version.raw.get("release")
        if not found:
            raise NotFound(
                "release_not_found",
                f"{ref} is a version, not a release",
                expected="MODEL@1.2.0 or a range such as MODEL@^1.2",
                actual=version.ref,
                hint=f"muniment release ls {wanted.model}",
            )
        semver = found["semver"]
    answer = yield from ask_json(request("registry", "GET", f"{_place(wanted.model)}/{quote(semver, safe='')}"))
    return Release.of(answer)


def tracks() -> Listing:
    """The tracks by name."""
    return Listing("registry", "/tracks")


def track(name: str) -> Call[Any]:
    """One track."""
    return (yield from ask_json(request("registry", "GET", f"/tracks/{quote(name, safe='')}")))


def change_track(name: str, change: Mapping[str, Any]) -> Call[Any]:
    """Make a track, or change the given fields of one."""
    wanted = request("registry", "PUT", f"/tracks/{quote(name, safe='')}", body=dict(change))
    return (yield from ask_json(wanted))


def copy_of(version: Version) -> tuple[str, str]:
    """What is downloaded and checked for an answer: the exact reference, and the id that its manifest has.

    A release has a manifest and files of its own; they are there when the version's are gone.
    """
    found = version.raw.get("release")
    if found:
        return f"{version.model}@{found['semver']}", str(found["id"])
    return f"{version.model}@{version.id}", version.id


def _place(model: str) -> str:
    return f"/models/{quote(model, safe='')}/releases"
