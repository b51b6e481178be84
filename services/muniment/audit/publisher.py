"""Publishes the log: tiles first, then the checkpoint that covers them, at most a second after the entries.

It reads committed entries and never stands in an append's way. Everything it writes follows from the entries, so after
a death at any step the next publisher does the same again: tiles get the bytes they have, and a checkpoint is recorded
in Postgres, once for each size, before anybody sees it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import structlog

from muniment.audit.bucket import LogBucket
from muniment.audit.keyring import Keyring, Signing
from muniment.audit.merkle import EMPTY_ROOT, leaf_hash
from muniment.audit.note import Checkpoint, open_note, sign
from muniment.audit.store import damaged
from muniment.audit.tiles import MAX_LEVEL, WIDTH, Full, Growing, Tile, changed_edge, edge, hashes_at, nodes_of, wrap
from muniment.contracts.errors import Rejected, Transient
from muniment.ports.clock import Clock
from muniment.runtime import stop_point
from muniment.runtime.metrics import Metrics
from muniment.runtime.sql import load_queries

if TYPE_CHECKING:
    from muniment.runtime.delivery.transaction import Connection

log = structlog.get_logger(__name__)
SQL = load_queries("muniment.audit", "publishing")

SPACING_S: Final = 0.6
"""Between two checkpoints at least: what is appended meanwhile shares the next one. Each checkpoint costs the store
four or five writes, so no more of them than the promised second needs."""
LOOK_S: Final = 0.75
"""How often is looked without being woken: another process may have appended, and died before it could publish."""
PATIENCE_S: Final = 5.0
"""Between two tries where an operator must act."""
SILENCE_S: Final = 30.0
"""After so many seconds without a word from the publisher's session, Postgres ends it and its turn."""
STEP: Final = 64 * WIDTH
"""Entries that one checkpoint adds at most."""
LASTING: Final = frozenset({"audit_log_damaged", "audit_key_missing"})
"""What does not pass by itself: somebody has to look, whether or not entries wait."""


@dataclass(frozen=True, slots=True)
class _Newest:
    size: int
    root: bytes
    note: str | None


class Publisher:
    """One process's publisher. Any number may run: they take turns by an advisory lock for each checkpoint."""

    def __init__(
        self, pool: asyncpg.Pool[Any], bucket: LogBucket, keyring: Keyring, clock: Clock, metrics: Metrics | None = None
    ) -> None:
        self._pool = pool
        self._bucket = bucket
        self._keyring = keyring
        self._clock = clock
        self._metrics = metrics
        self._woken = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self.shown: tuple[int, str] | None = None
        """The newest checkpoint that this process has shown: its size and its note, without cosignatures."""
        self.trouble: Exception | None = None
        """What the last try to publish failed with; None if it did not."""
        self._edge: Growing | None = None
        """The edge of the tree as last published by this process; None where that is not known for certain."""

    def wake(self) -> None:
        """Entries have been appended."""
        self._woken.set()

    async def run(self) -> None:
        """Publish what is appended, until cancelled. Raises what Postgres and the store raise when they are away."""
        clock = asyncio.get_running_loop().time
        while True:
            self._woken.clear()
            due = clock() + SPACING_S  # from beginning to beginning: where publishing takes long, nothing waits besides
            try:
                await self._publish_all()
            except Transient as error:
                if error.code not in LASTING:
                    raise
                log.error("the audit log is not published", code=error.code, error=str(error))  # noqa: TRY400 - no fault of the code: the error says all
                if self._metrics is not None and error.code == "audit_log_damaged":
                    self._metrics.audit_verify_failures.inc()
                due = clock() + PATIENCE_S
            await asyncio.sleep(max(0.0, due - clock()))
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._woken.wait()

    async def _publish_all(self) -> None:
        try:
            while await self.publish():
                pass
        except Exception as error:
            self.trouble = error
            raise
        self.trouble = None

    async def publish(self) -> bool:
        """Publish a checkpoint of what is appended; whether there is still more.

        Raises `Transient`: `audit_log_damaged`, `audit_key_missing`, `audit_publisher_overtaken`, and what the store
        raises; asyncpg's own errors when the database is away.
        """
        size = await self._pool.fetchval(SQL["head_size"])
        if self._edge is not None and self._edge.size == size:
            return False
        signing = await self._keyring.signing(self._clock.now())
        async with self._one_at_a_time, self._pool.acquire(timeout=30) as connection:
            await connection.execute(SQL["limit_silence"], f"{SILENCE_S * 1000:.0f}ms")
            if not await connection.fetchval(SQL["try_turn"]):
                return False  # another process publishes; this one looks again soon
            try:
                return await self._publish(connection, size, signing)
            finally:
                if not connection.is_closed():
                    await connection.execute(SQL["end_turn"])

    async def show_cosigned(self, size: int, note: str) -> None:
        """Show a checkpoint again, with the lines of its witnesses, unless a newer one is shown by now."""
        async with self._one_at_a_time, self._pool.acquire(timeout=30) as connection:
            if not await connection.fetchval(SQL["try_turn"]):
                return  # another process publishes a newer one just now
            try:
                if (await _newest(connection)).size == size:
                    await self._bucket.show(note)
            finally:
                if not connection.is_closed():
                    await connection.execute(SQL["end_turn"])

    async def _publish(self, connection: Connection, size: int, signing: Signing) -> bool:
        newest = await _newest(connection)
        growing, self._edge = self._edge, None
        if growing is None or growing.size != newest.size:
            growing = await self._recover(connection, newest, signing)
            self.shown = None if newest.note is None else (newest.size, newest.note)
        end = min(size, newest.size + STEP)
        if end > newest.size:
            full = await self._grow(connection, growing, end)
            stop_point.reached("audit.tiles-written")
            text = Checkpoint(signing.origin, end, growing.root()).text()
            note = await asyncio.to_thread(sign, text, signing.origin, signing.signers)
            await _record(connection, end, growing.root(), note, full)
            stop_point.reached("audit.checkpoint-recorded")
            await self._bucket.show(note)
            self.shown = (end, note)
            stop_point.reached("audit.checkpoint-shown")
            self._edge = growing
            await self._tidy(newest.size, full)
        self._edge = growing
        if self._metrics is not None:
            self._metrics.audit_chain_size.set(growing.size)
        return growing.size < size

    async def _grow(self, connection: Connection, growing: Growing, end: int) -> list[Full]:
        """Grow the tree to `end` leaves, and write the tiles that are new. Returns those that became full."""
        before = growing.size
        all_full: list[Full] = []
        root = b""
        while growing.size < end:
            upto = min(end, (growing.size // WIDTH + 1) * WIDTH)
            rows = await connection.fetch(SQL["entries_between"], growing.size, upto)
            _check(rows, growing.size, upto)
            full = [one for row in rows for one in growing.add(row["data"], row["leaf_hash"])]
            root = rows[-1]["root_hash"]
            await asyncio.gather(*(self._bucket.put(one.tile, one.content) for one in full))
            all_full += [one if one.root is not None else Full(one.tile, b"", None) for one in full]
        if growing.root() != root:
            raise damaged(
                f"the entries do not give the root that was written with entry {end - 1}",
                expected=root.hex(),
                actual=growing.root().hex(),
            )
        await asyncio.gather(*(self._bucket.put(tile, growing.content(tile)) for tile in changed_edge(before, end)))
        return all_full

    async def _recover(self, connection: Connection, newest: _Newest, signing: Signing) -> Growing:
        """The edge of the tree as published, made anew from the entries and compared with what is stored."""
        growing = await _edge_of(connection, newest.size)
        written = await connection.fetchval(SQL["root_at"], newest.size) if newest.size else EMPTY_ROOT
        if not growing.root() == newest.root == written:
            raise damaged(
                f"the entries do not give the root that was published for size {newest.size}",
                expected=f"published {newest.root.hex()}",
                actual=f"from the entries {growing.root().hex()}, with the last one {written and written.hex()}",
            )
        await self._compare_shown(connection, newest, signing)
        await asyncio.gather(*(self._bucket.put(tile, growing.content(tile)) for tile in edge(newest.size)))
        return growing

    async def _compare_shown(self, connection: Connection, newest: _Newest, signing: Signing) -> None:
        """Show the newest checkpoint, unless the bucket has one of this log that contradicts it."""
        raw = await self._bucket.shown()
        if raw is not None and newest.note is not None and raw == newest.note.encode():
            return
        shown = None if raw is None else _ours(raw, signing)
        if shown is not None:
            root = await connection.fetchval(SQL["root_at"], shown.size)
            if shown.size > newest.size or root != shown.root:
                raise damaged(
                    f"a checkpoint for size {shown.size} was published that Postgres does not have",
                    expected=f"a size up to {newest.size} with its root",
                    actual=f"root {shown.root.hex()}, here {root.hex() if root else 'no entry'}",
                    hint="was the database restored from an older backup? Restore the entries up to that size from the "
                    "audit-log topic or the tiles; nothing is published until they are there",
                )
        if newest.note is not None:
            await self._bucket.show(newest.note)

    async def _tidy(self, before: int, full: Sequence[Full]) -> None:
        """Drop the partial tiles that are full now."""
        now_full = {(one.tile.level, one.tile.index) for one in full}
        for tile in edge(before):
            if (tile.level, tile.index) in now_full:
                await self._bucket.drop_partials(Tile(tile.level, tile.index))


def _ours(raw: bytes, signing: Signing) -> Checkpoint | None:
    """The checkpoint, if a key of this log has signed it: anything else in its place was put there by others."""
    try:
        return Checkpoint.parse(open_note(raw, signing.keys))
    except Rejected as error:
        log.warning("the bucket's checkpoint is none of this log and is replaced", error=str(error)[:300])
        return None


async def _newest(connection: Connection) -> _Newest:
    row = await connection.fetchrow(SQL["newest_checkpoint"])
    return _Newest(0, EMPTY_ROOT, None) if row is None else _Newest(row["size"], row["root"], row["note"])


async def _edge_of(connection: Connection, size: int) -> Growing:
    """The edge of the tree of `size` leaves, from entries and the roots of full tiles."""
    first = size - size % WIDTH
    rows = await connection.fetch(SQL["entries_between"], first, size)
    _check(rows, first, size)
    levels = [[row["leaf_hash"] for row in rows]]
    for level in range(1, MAX_LEVEL + 1):
        count = hashes_at(level, size)
        begin = count - count % WIDTH
        roots = await connection.fetch(SQL["tile_roots"], level - 1, begin, count) if count % WIDTH else []
        if len(roots) != count - begin:
            raise damaged(
                f"roots of full tiles are missing at level {level - 1}",
                expected=f"{begin} to {count - 1}",
                actual=f"{len(roots)} of them",
            )
        levels.append([row["root"] for row in roots])
    return Growing(size, levels, b"".join(wrap(row["data"]) for row in rows))


def _check(rows: Sequence[asyncpg.Record], first: int, end: int) -> None:
    """That these are the entries from `first` to before `end`, each with the hash of its data."""
    for index, row in enumerate(rows, first):
        if row["index"] != index or row["leaf_hash"] != leaf_hash(row["data"]):
            raise damaged(
                f"entry {index} is not what was appended",
                expected=f"entry {index} with leaf hash {leaf_hash(row['data']).hex()}",
                actual=f"entry {row['index']} with {row['leaf_hash'].hex()}",
            )
    if len(rows) != end - first:
        raise damaged("entries are missing", expected=f"{first} to {end - 1}", actual=f"{len(rows)} of them")


async def _record(connection: Connection, size: int, root: bytes, note: str, full: Sequence[Full]) -> None:
    """Write the checkpoint, with the roots of the tiles that it makes full. From here on it counts as published."""
    tiles = [(one.tile.level, one.tile.index, one.root) for one in full if one.root is not None]
    nodes = [nodes_of(one.content) for one in full if one.root is not None]
    try:
        async with connection.transaction():
            levels, indexes = [level for level, _, _ in tiles], [index for _, index, _ in tiles]
            await connection.execute(SQL["insert_tile_nodes"], levels, indexes, nodes)
            await connection.execute(SQL["insert_tile_roots"], levels, indexes, [root for _, _, root in tiles])
            await connection.execute(SQL["insert_checkpoint"], size, root, note)
    except asyncpg.UniqueViolationError as error:
        raise Transient(
            "audit_publisher_overtaken",
            f"another process has published size {size} or its tiles meanwhile",
            hint="nothing to do: what it published is read, and publishing goes on from there",
        ) from error
