"""A release in the database: what stands against it, and the record with its event and its audit entry."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg
from pydantic import Field, StrictBool

from muniment.contracts.errors import Conflict, Rejected
from muniment.contracts.events import Change, ObjectLocation, ReleasePublished, VersionFile, VersionName
from muniment.contracts.ids import VersionId
from muniment.contracts.model import Line, Payload, Prose, Word
from muniment.contracts.release_manifest import Copy
from muniment.contracts.semver import Semver
from muniment.ports.blobs import Location, Lock
from muniment.registry.changing import Changing
from muniment.registry.domain import Track
from muniment.registry.long_values import whole
from muniment.registry.scrubbing.rules import damaged_among, version_damaged
from muniment.registry.signature_reads import outcome_of
from muniment.registry.store import RELEASES, SQL
from muniment.registry.track_rules import checks_missing

if TYPE_CHECKING:
    from muniment.registry.references import Source

ACTION: Final = "release.published"


class NewRelease(Payload):
    """What is to be released, as which version, and where it is kept: in the track `production` unless one is named."""

    version: Word
    ref: Word
    track: Word | None = None
    copy_kind: Copy = Field(default="logical", alias="copy")
    notes: Prose | None = None
    reason: Line | None = None
    force: StrictBool = False
    """Release damaged bytes all the same: for admins, and for a logical copy of bytes that are not gone."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A release whose bytes and manifest lie in the store, locked: what is left is the record. `locks` as `files`."""

    text: bytes
    id: VersionId
    manifest: Location
    lock: Lock
    files: tuple[VersionFile, ...]
    locks: Sequence[Lock]


async def version_files(source: Source, version: asyncpg.Record) -> tuple[VersionFile, ...]:
    """The files of a version as events tell them."""
    rows = await source.fetch(SQL["files"], version["model_id"], version["number"])
    return tuple(
        VersionFile(
            path=row["path"],
            sha256=row["sha256"],
            size=row["size"],
            format=row["format"],
            role=row["role"],
            location=ObjectLocation(bucket=row["bucket"], key=row["key"], version_id=row["version_id"]),
        )
        for row in rows
    )


async def exists(connection: Source, source: asyncpg.Record, semver: Semver) -> bool:
    """Whether this very release was made of this very version."""
    row = await connection.fetchrow(RELEASES["release"], source["model_id"], semver.precedence)
    return row is not None and row["semver"] == str(semver) and row["number"] == source["number"]


async def refusal_of(
    connection: Source, source: asyncpg.Record, semver: Semver, track: Track, *, force: bool = False
) -> Rejected | None:
    """What the registry's state says against the release; to be asked before the bytes, and again in the change."""
    row = await connection.fetchrow(RELEASES["release"], source["model_id"], semver.precedence)
    if row is not None:
        return Conflict(
            "release_exists",
            f"{row['model']}@{row['semver']} is released, and a release never moves"
            + ("" if row["semver"] == str(semver) else ": build metadata alone makes no other release"),
            expected=f"{row['model']}/{row['number']}, which it was made of",
            actual=f"{semver} of {source['model']}/{source['number']}",
            hint="choose a higher version: muniment release ls " + row["model"],
        )
    if source["deleted_at"] is not None:
        return Conflict(
            "version_deleted",
            f"{source['model']}/{source['number']} is deleted: {source['deleted_reason']}",
            actual=f"deleted by {source['deleted_by']}",
            hint="release another version: muniment versions ls " + source["model"],
        )
    ref = f"{source['model']}/{source['number']}"
    outcomes = await connection.fetch(
        RELEASES["check_outcomes"], source["model_id"], source["number"], list(track.checks)
    )
    try:
        files = await connection.fetch(SQL["files"], source["model_id"], source["number"])
        if (damaged := damaged_among(files)) and not force:
            return version_damaged(ref, damaged)
        track.check_formats((file["path"], file["format"]) for file in files)
        if track.signature_required:
            track.check_signature(*await outcome_of(connection, source))
    except Rejected as error:
        return error
    return checks_missing(track, {row["name"]: row["passed"] for row in outcomes}, ref)


async def record_release(
    change: Changing, source: asyncpg.Record, semver: Semver, track: Track, wanted: NewRelease, stored: Stored
) -> None:
    """Write the release and its files, tell of it, and make its source stable unless it is a prerelease."""
    released_at = change.tx.now
    files, locks = stored.files, stored.locks
    await change.connection.execute(
        RELEASES["insert_release"],
        change.model.id,
        str(semver),
        semver.precedence,
        bool(semver.prerelease),
        source["number"],
        stored.id,
        track.name,
        wanted.copy_kind,
        wanted.notes,
        change.by.operator,
        released_at,
        stored.text,
        stored.manifest.bucket,
        stored.manifest.key,
        stored.manifest.version_id,
        stored.lock.until,
    )
    await change.connection.execute(
        RELEASES["insert_release_files"],
        change.model.id,
        str(semver),
        [file.location.bucket for file in files],
        [file.location.key for file in files],
        [file.location.version_id for file in files],
        [file.sha256 for file in files],
        [file.size for file in files],
        [lock.mode for lock in locks],
        [lock.until for lock in locks],
        [file.path for file in files],
        [file.format for file in files],
        [file.role for file in files],
    )
    changes = [
        Change(path="release", after=stored.id),
        Change(path="source", after=source["id"]),
        Change(path="track", after=track.name),
        Change(path="copy", after=wanted.copy_kind),
        Change(path="files", after=len(files)),
        Change(path="precedence", after=semver.precedence.hex()),
        Change(path="prerelease", after=bool(semver.prerelease)),
        Change(path="manifest", after=dataclasses.asdict(stored.manifest)),
    ]
    if wanted.force:
        changes.append(Change(path="force", after=True))
    if wanted.notes is not None:
        changes += whole({"notes": wanted.notes})
    if not semver.prerelease and source["stability"] != "stable":
        await change.connection.execute(RELEASES["make_stable"], change.model.id, source["number"])
        changes.append(
            Change(path=f"versions/{source['number']}/stability", before=source["stability"], after="stable")
        )
    event = ReleasePublished(
        model=change.model.name,
        operator=change.by.operator,
        release=str(semver),
        id=stored.id,
        source=VersionName(number=source["number"], id=source["id"]),
        prerelease=bool(semver.prerelease),
        track=track.name,
        copy_kind=wanted.copy_kind,
        notes=wanted.notes,
        released_at=released_at,
        manifest=ObjectLocation.model_validate(stored.manifest, from_attributes=True),
        files=files,
    )
    change.emit(event, str(semver))
    change.audit(ACTION, f"releases/{semver}", changes, reason=wanted.reason)
