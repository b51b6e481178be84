"""The log's bucket: tiles and bundles at the paths of C2SP tlog-tiles, and the newest checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from muniment.audit.store import damaged
from muniment.audit.tiles import Tile
from muniment.contracts.errors import Conflict, Misconfigured, MunimentError, NotFound
from muniment.ports.blobs import BlobStore, Located, Lock
from muniment.ports.clock import Clock

log = structlog.get_logger(__name__)
CHECKPOINT: Final = "checkpoint"
_TEXT: Final = "text/plain; charset=utf-8"
_LISTED: Final = 1000


@dataclass(slots=True)
class LogBucket:
    """Where the log is published. Full tiles and bundles are locked (COMPLIANCE) for `retention`."""

    blobs: BlobStore
    clock: Clock
    name: str
    retention: timedelta
    _shown: Located | None = None
    """The checkpoint's version that this process has put there."""

    async def put(self, tile: Tile, content: bytes) -> None:
        """Write a tile or bundle, locked if it is full. Doing it again changes nothing.

        Raises `Transient` (`audit_log_damaged`) if other bytes are there.
        """
        lock = Lock("COMPLIANCE", self.clock.now() + self.retention) if tile.full else None
        try:
            await self.blobs.put_once(self.name, tile.path, content, lock=lock)
        except Conflict as error:
            raise damaged(
                f"the stored {tile.path} is not what the entries give",
                expected=f"{len(content)} bytes made from the entries",
                actual=f"other bytes in the bucket {self.name}",
                hint="find out by `muniment audit verify` which of the two was changed; nothing is published until "
                "they agree",
            ) from error

    async def show(self, note: str) -> None:
        """Put the checkpoint in the place of the one before. Only the newest stays: Postgres has them all."""
        before = self._shown
        self._shown = await self.blobs.put(self.name, CHECKPOINT, note.encode(), content_type=_TEXT)
        if before is not None:
            await self._remove(before)

    async def shown(self) -> bytes | None:
        """The checkpoint that the bucket shows, None if there is none (or something far too large)."""
        try:
            found = await self.blobs.stat(self.name, CHECKPOINT)
        except NotFound:
            return None
        self._shown = found
        return await self.blobs.read_whole(found)

    async def drop_partials(self, tile: Tile) -> None:
        """Delete the partial forms of a tile that is full now. What cannot be deleted stays, and does no harm."""
        page = await self.blobs.list_versions(self.name, prefix=f"{tile.path}.p/", limit=_LISTED)
        for version in page.items:
            await self._remove(version)

    async def keep(self, tile: Tile, before: datetime) -> datetime | None:
        """When the lock of a full tile's first version ends, extended if that is before `before`; None if it is gone.

        Where the store refuses a longer lock, the end it has. Raises `Transient` when the store is away.
        """
        page = await self.blobs.list_versions(self.name, prefix=tile.path, limit=_LISTED)
        versions = [one for one in page.items if one.key == tile.path and not one.is_delete_marker]
        if not versions:
            log.error("a tile of the audit log is gone from its bucket", key=tile.path, bucket=self.name)
            return None
        held = await self.blobs.retention(versions[-1])
        if held is None or held.until < before:
            try:
                held = await self.blobs.lock(versions[-1], Lock("COMPLIANCE", self.clock.now() + self.retention))
            except Misconfigured as error:
                log.exception("the store does not lock a tile for longer", key=tile.path, code=error.code)
        return None if held is None else held.until

    async def _remove(self, version: Located) -> None:
        try:
            await self.blobs.delete_version(version)
        except MunimentError as error:
            log.info("an object that nobody needs any more stays", key=version.key, error=repr(error)[:200])
