"""The scrubber's parts, put together."""

from __future__ import annotations

from dataclasses import dataclass

from muniment.ports.blobs import Location
from muniment.registry.bytes_check import CommittedBytes
from muniment.registry.scrubbing.damages import Damages
from muniment.registry.scrubbing.manifests import ManifestScrubber
from muniment.registry.scrubbing.passes import Passes
from muniment.registry.scrubbing.reading import Pace, PacedReader
from muniment.registry.scrubbing.repairs import Repairs
from muniment.registry.scrubbing.replacing import Replacing
from muniment.registry.scrubbing.work import Scrubber
from muniment.registry.store import SCRUBBING
from muniment.runtime.service import Deps


@dataclass(frozen=True, slots=True)
class Scrubbing:
    """The parts of one process."""

    scrubber: Scrubber
    manifests: ManifestScrubber
    damages: Damages
    passes: Passes
    replacing: Replacing

    async def lost(self, object_id: int | str, place: Location) -> None:
        """The keeper could not lock an object, since it is gone: look once more, and record it. Manifests have no
        rows of their own (their ids are texts): the log has to do.
        """
        if not isinstance(object_id, int):
            return
        row = await self.damages.transactions.pool.fetchrow(SCRUBBING["lock_object"], object_id)
        damage = row and await self.scrubber.committed.look(place, row["sha256"], row["size"])
        if damage:
            await self.damages.record(object_id, damage)


def scrubbing(deps: Deps) -> Scrubbing:
    """From a service's dependencies."""
    settings = deps.settings.registry
    committed = CommittedBytes(deps.blobs)
    damages = Damages(deps.transactions)
    repairs = Repairs(deps.transactions, committed, damages, settings.retention_margin_s)
    reader = PacedReader(deps.blobs, Pace(settings.scrub.max_bytes_per_s))
    scrubber = Scrubber(deps.transactions, committed, damages, repairs, reader, settings.scrub, deps.metrics)
    passes = Passes(deps.transactions, settings.scrub, scrubber.wake)
    replacing = Replacing(deps.pool, deps.blobs, repairs, deps.settings.s3.bucket, deps.settings.ingest.upload_expiry_s)
    manifests = ManifestScrubber(deps.transactions, committed, damages, reader, settings.scrub, deps.metrics)
    return Scrubbing(scrubber, manifests, damages, passes, replacing)
