"""Releases: a version under a semantic version, as a copy of its own that nothing done to the version can reach.

`publish`, in order, and why a crash costs nothing:

1. Read the source's bytes again; for a physical copy put them into the track's bucket (`release_bytes.py`).
2. Lock them for the track's retention, never shorter than they are locked. Write the release's manifest, locked.
3. One transaction: the record, the event, the audit entry.

The manifest is made of the source, the release and the places of the bytes alone, and is named by its digest: whoever
tries again after a crash finds what the first try has stored. What nobody tries again lies locked until its retention
ends; then `gc --leftovers` frees it (`sweeping.py`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import asyncpg

from muniment.contracts.errors import Conflict, Rejected
from muniment.contracts.events import Cause, VersionName
from muniment.contracts.identity import Principal
from muniment.contracts.ids import ModelName
from muniment.contracts.manifest import manifest_id
from muniment.contracts.release_manifest import release_bytes
from muniment.contracts.semver import Semver, parse_semver
from muniment.registry.changing import Changes
from muniment.registry.domain import PRODUCTION, Track, find_track
from muniment.registry.references import find_model, find_version
from muniment.registry.release_bytes import ReleaseBytes
from muniment.registry.release_records import (
    ACTION,
    NewRelease,
    Stored,
    exists,
    record_release,
    refusal_of,
    version_files,
)
from muniment.registry.sealing import Sealer
from muniment.registry.tracks import Tracks
from muniment.runtime.stop_point import reached


@dataclass(frozen=True, slots=True)
class Releases:
    """Publishes releases."""

    changes: Changes
    sealer: Sealer
    tracks: Tracks
    bytes: ReleaseBytes

    async def publish(self, model: ModelName, wanted: NewRelease, by: Principal, cause: Cause) -> str:
        """Make a release; returns its semantic version. The same of the same source again changes nothing.

        Raises `Rejected` (`semver_invalid`, `reference_elsewhere`, `track_unknown`, `format_not_allowed`,
        `bytes_damaged`, `bytes_missing`) and `Conflict` (`release_exists`, `version_deleted`, `version_damaged`,
        `checks_missing`). What the registry's state forbids is audited as refused.
        """
        if wanted.force:
            by.require("admin")
        semver = parse_semver(wanted.version)
        track = find_track(await self.tracks.all(knowing=wanted.track), wanted.track or PRODUCTION)
        pool = self.changes.pool
        known = await find_model(pool, model)
        source = await find_version(pool, wanted.ref)
        if source["model_id"] != known["id"]:
            raise Rejected(
                "reference_elsewhere",
                "the reference names a version of another model",
                expected=f"a version of {known['name']}",
                actual=f"{source['model']}/{source['number']}",
            )
        if await exists(pool, source, semver):
            return str(semver)
        stored: Stored | None = None
        refusal = await refusal_of(pool, source, semver, track, force=wanted.force)
        if refusal is None:
            stored = await self._store(source, semver, track, wanted)
            reached("registry.release-stored")
        async with self.changes.of(model, by, cause) as change:
            source = await change.version(f"{source['model']}/{source['number']}")
            if await exists(change.connection, source, semver):
                return str(semver)
            refusal = await refusal_of(change.connection, source, semver, track, force=wanted.force)
            if refusal is None and stored is not None:
                await record_release(change, source, semver, track, wanted, stored)
            elif refusal is not None:
                why = f"{refusal.code}: {refusal}"
                change.audit(ACTION, f"releases/{semver}", reason=why[:1900], refused=True)
        if refusal is not None:
            raise refusal
        if stored is None:  # what stood against it went away in between
            raise Conflict("release_overtaken", "the version changed meanwhile", hint="try again")
        return str(semver)

    async def _store(self, source: asyncpg.Record, semver: Semver, track: Track, wanted: NewRelease) -> Stored:
        bucket = track.bucket or self.sealer.bucket
        files = await version_files(self.changes.pool, source)
        if wanted.copy_kind == "physical":
            files = await self.bytes.copied(files, bucket)
        elif not wanted.force:
            files = await self.bytes.checked(files)
        lock = self.sealer.lock_of(track)
        locks = await self.sealer.lock_files(files, lock)
        text = release_bytes(
            model=source["model"],
            release=semver,
            source=VersionName(number=source["number"], id=source["id"]),
            track=track.name,
            copy=wanted.copy_kind,
            notes=wanted.notes,
            files=files,
            version_manifest=json.loads(source["manifest"]),
        )
        digest = manifest_id(text)
        key = f"releases/{source['model']}/{semver}/{digest.removeprefix('sha256:')}.json"
        manifest = await self.sealer.write_manifest(bucket, key, text, lock)
        return Stored(text, digest, manifest, lock, files, locks)
