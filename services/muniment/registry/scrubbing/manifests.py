"""Manifests in the store are read again, too: their digest is their version's (or release's) id.

They are small, so one process at a time walks over them by id, a batch after another, at the scrubber's pace. A pass
that somebody asks for begins the walk anew. Postgres has the same text, and readers get that one: a damaged manifest
in the store is told and counted, and shuts no gate. Its place belongs to the record and never changes: nothing moves.
One that the store fails to give, three times while it gives something else, counts as damaged, and the walk goes on.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog

from muniment.contracts.errors import Transient
from muniment.contracts.events import Cause
from muniment.contracts.model import rfc3339
from muniment.ports.blobs import Location
from muniment.registry.bytes_check import CommittedBytes, Damage, Read, unreadable
from muniment.registry.diverging import SERVICE
from muniment.registry.scrubbing.damages import Damages, location_of, tell_restored
from muniment.registry.scrubbing.reading import PacedReader
from muniment.registry.scrubbing.rules import MANIFEST, SMALL, by_model, round_due
from muniment.registry.scrubbing.work import FAILURES, IDLE_S, TRIED_AGAIN
from muniment.registry.store import MANIFESTS
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.metrics import Metrics
from muniment.runtime.settings import ScrubSettings

log = structlog.get_logger(__name__)
_BATCH: Final = 32


@dataclass(frozen=True, slots=True)
class ManifestScrubber:
    """The walk of one process. Run `run` as a task; `step` is one batch of it."""

    transactions: Transactions
    committed: CommittedBytes
    damages: Damages
    reader: PacedReader
    settings: ScrubSettings
    metrics: Metrics

    async def run(self) -> None:
        """Walk, for ever."""
        while True:
            more = False
            try:
                more = await self.step()
            except TRIED_AGAIN as error:
                log.warning("manifests are not read; trying again", error=repr(error)[:300])
            await asyncio.sleep(0 if more else IDLE_S)

    async def step(self) -> bool:
        """Read a batch, if a round is due; whether there is more. Raises what the store and the database raise."""
        async with self.transactions.pool.acquire(timeout=30) as connection:
            if not await connection.fetchval(MANIFESTS["try_turn"]):
                return False
            try:
                return await self._step(connection)
            finally:
                if not connection.is_closed():
                    await connection.execute(MANIFESTS["end_turn"])

    async def _step(self, connection: Any) -> bool:
        row = await connection.fetchrow(MANIFESTS["round"])
        after, asked = row["after_id"], row["asked_at"]
        if asked is not None and asked > row["started_at"]:
            await connection.execute(MANIFESTS["begin_round"])
            after = ""
        elif row["finished_at"] is not None:
            now: datetime = self.transactions.clock.now()
            if not (self.settings.enabled and round_due(row["finished_at"], self.settings.cycle_s, now)):
                return False
            await connection.execute(MANIFESTS["begin_round"])
            after = ""
        elif row["rests"]:
            return False
        rows = await connection.fetch(MANIFESTS["manifests_after"], after, _BATCH)
        for manifest in rows:
            try:
                await self._read(manifest)
            except Transient as error:
                if not await self._is_unreadable(connection, manifest, error):
                    raise
            await connection.execute(MANIFESTS["move_round"], manifest["id"])
        if len(rows) == _BATCH:
            return True
        await connection.execute(MANIFESTS["finish_round"])
        return False

    async def _read(self, manifest: Any) -> None:
        place = Location(manifest["bucket"], manifest["key"], manifest["version_id"])
        damage = await self.committed.look(place, manifest["id"].removeprefix("sha256:"), manifest["size"], self._hash)
        if damage is not None:
            await self._damaged(manifest, damage)
        elif manifest["damaged_at"] is not None:
            await self._healed(manifest)

    async def _is_unreadable(self, connection: Any, manifest: Any, error: Transient) -> bool:
        """Whether it is this manifest that the store fails, and not the store that is away; told as damage then."""
        failures = await connection.fetchval(MANIFESTS["put_off"])
        known = manifest["damaged_at"] is not None
        if failures < FAILURES and not known:
            return False
        other = await connection.fetchrow(MANIFESTS["other"], manifest["id"], SMALL)
        if other is None:
            return False
        try:
            await self.committed.blobs.hash(Location(other["bucket"], other["key"], other["version_id"]))
        except TRIED_AGAIN:
            return False
        if not known:
            sha256 = manifest["id"].removeprefix("sha256:")
            await self._damaged(manifest, unreadable(sha256, manifest["size"], failures, error))
        return True

    async def _hash(self, place: Location, size: int) -> Read:
        return await self.reader.read(place, size, self.metrics.scrubbed_bytes.inc)

    async def _damaged(self, manifest: Any, damage: Damage) -> None:
        async with self.transactions.begin() as tx:
            known = (manifest["id"], tx.now, damage.code, damage.actual)
            if await tx.connection.fetchval(MANIFESTS["add_damage"], *known) is None:
                return
            for held in by_model([_held(manifest)]):
                self.damages.tell(tx, _as_object(manifest), damage, held, _cause(manifest, tx.now))
        log.error("a manifest in the store is damaged", code=damage.code, id=manifest["id"], actual=damage.actual)

    async def _healed(self, manifest: Any) -> None:
        """The store has got the bytes back."""
        async with self.transactions.begin() as tx:
            if await tx.connection.fetchval(MANIFESTS["end_damage"], manifest["id"]) is not None:
                there = _as_object(manifest)
                tell_restored(tx, there, location_of(there), [_held(manifest)], SERVICE, _cause(manifest, tx.now))


def _held(manifest: Any) -> dict[str, Any]:
    """The manifest as the statement `holders` gives a file."""
    return {
        "model": manifest["model"],
        "number": manifest["number"],
        "id": manifest["version"],
        "release": manifest["release"],
        "path": MANIFEST,
    }


def _as_object(manifest: Any) -> dict[str, Any]:
    """The manifest as a row of `stored_object`."""
    return {**manifest, "sha256": manifest["id"].removeprefix("sha256:")}


def _cause(manifest: Any, now: datetime) -> Cause:
    return Cause(kind="schedule", id=f"scrub {manifest['id']} {rfc3339(now)}")
