"""Tiles and checkpoints: what is published, that a death at any step changes none of it, and what stops it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from muniment.adapters.memory.store import MemoryBlobStore
from muniment.adapters.signing_keys import FileKeys, TextKeys
from muniment.audit import bucket as bucket_module
from muniment.audit.bucket import LogBucket
from muniment.audit.keyring import Keyring
from muniment.audit.merkle import root_of
from muniment.audit.note import Checkpoint, open_note
from muniment.audit.publisher import Publisher
from muniment.audit.tiles import Tile, edge, split_bundle
from muniment.contracts.errors import Conflict, Misconfigured, Transient
from muniment.contracts.events import AuditRequested, Cause
from muniment.runtime import stop_point

from .conftest import Log, Writer, incoming

BUCKET = "audit-log"
STEPS = ["audit.tiles-written", "audit.checkpoint-recorded", "audit.checkpoint-shown"]


class Died(BaseException):
    """A kill -9 where the code does not notice: nothing catches it."""


class Bench:
    """A log with a store in memory; `publisher` gives a fresh process each time."""

    def __init__(self, writer: Writer, folder: Path) -> None:
        self.writer = writer
        self.blobs = MemoryBlobStore(writer.clock)
        self.keys = FileKeys(folder / "audit.key")
        self.appended = 0

    def keyring(self, **changes: Any) -> Keyring:
        return Keyring(self.writer.transactions, changes.get("keys", self.keys), changes.get("origin"))

    def publisher(self, **changes: Any) -> Publisher:
        bucket = LogBucket(self.blobs, self.writer.clock, BUCKET, timedelta(hours=1))
        return Publisher(self.writer.pool, bucket, self.keyring(**changes), self.writer.clock)

    async def append(self, count: int) -> None:
        """That many more entries, in batches of 100."""
        for first in range(0, count, 100):
            batch = range(self.appended + first, self.appended + min(count, first + 100))
            await self.writer.append(*(incoming(f"e-{number}") for number in batch))
        self.appended += count

    async def read(self, key: str) -> bytes:
        found = await self.blobs.read_whole(await self.blobs.stat(BUCKET, key), at_most=32 * 1024**2)
        assert found is not None
        return found

    async def keys_in_bucket(self) -> set[str]:
        page = await self.blobs.list_versions(BUCKET)
        return {item.key for item in page.items}

    async def check(self, size: int) -> None:
        """The bucket shows a checkpoint of this size, signed, and its tiles give its root and hold the entries."""
        keys = [one.key for one in await self.keyring().keys()]
        shown = await self.read("checkpoint")
        checkpoint = Checkpoint.parse(open_note(shown, keys))
        rows = await self.writer.pool.fetch("SELECT data, leaf_hash FROM entry ORDER BY index LIMIT $1", size)
        assert (checkpoint.origin, checkpoint.size) == (await self.keyring().origin(), size)
        assert checkpoint.root == root_of([row["leaf_hash"] for row in rows])
        partial = {tile for tile in edge(size) if tile.level in (0, None)}
        hashes = await self._whole(0, size, partial)
        assert hashes == b"".join(row["leaf_hash"] for row in rows)
        assert split_bundle(await self._whole(None, size, partial)) == [row["data"] for row in rows]
        sizes = await self.writer.pool.fetch("SELECT size FROM checkpoint ORDER BY size DESC")
        assert sizes[0]["size"] == size

    async def _whole(self, level: int | None, size: int, partial: set[Tile]) -> bytes:
        tiles = [Tile(level, index) for index in range(size // 256)] + [tile for tile in partial if tile.level == level]
        return b"".join([await self.read(tile.path) for tile in tiles])


@pytest.fixture
async def bench(writer: Writer, tmp_path: Path) -> Bench:
    made = Bench(writer, tmp_path)
    await made.blobs.ensure_bucket(BUCKET, object_lock=True)
    return made


async def until_done(publisher: Publisher) -> None:
    while await publisher.publish():
        pass


async def test_tiles_and_checkpoint_follow_the_entries(bench: Bench) -> None:
    publisher = bench.publisher()
    await publisher.publish()
    assert await bench.keys_in_bucket() == set(), "an empty log has nothing to show"
    for count in (1, 5, 249, 1, 2, 300):  # partial, partial, one before full, full, partial, across
        await bench.append(count)
        await until_done(publisher)
        await bench.check(bench.appended)
    lock = await bench.blobs.retention(await bench.blobs.stat(BUCKET, "tile/0/000"))
    assert lock is not None
    assert lock.mode == "COMPLIANCE"
    assert await bench.blobs.retention(await bench.blobs.stat(BUCKET, "tile/entries/001")) is not None
    assert not {key for key in await bench.keys_in_bucket() if key.startswith(("tile/0/000.p/", "tile/entries/000.p/"))}
    page = await bench.blobs.list_versions(BUCKET, prefix="checkpoint")
    assert len(page.items) == 1, "the bucket keeps the newest checkpoint alone"


@pytest.mark.parametrize("step", STEPS)
async def test_a_death_at_any_step_is_made_good(bench: Bench, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.append(300)
    await until_done(bench.publisher())
    await bench.append(250)

    def die(name: str) -> None:
        if name == step:
            raise Died

    with monkeypatch.context() as patched:
        patched.setattr(stop_point, "reached", die)
        with pytest.raises(Died):
            await bench.publisher().publish()
    recorded = await bench.writer.pool.fetch("SELECT size, note FROM checkpoint ORDER BY size")
    await until_done(bench.publisher())
    await bench.check(550)
    assert [row["size"] for row in await bench.writer.pool.fetch("SELECT size FROM checkpoint ORDER BY size")] == [
        300,
        550,
    ]
    again = await bench.writer.pool.fetch("SELECT size, note FROM checkpoint ORDER BY size")
    assert again[: len(recorded)] == recorded, "what was recorded is what is shown"


async def test_two_publishers_make_one_log(bench: Bench) -> None:
    await bench.append(10)
    publishers = [bench.publisher() for _ in range(3)]
    for more in (0, 300, 1, 30):
        await bench.append(more)
        for _ in range(3):
            await asyncio.gather(*(one.publish() for one in publishers))
    await bench.check(341)


async def test_one_size_is_recorded_once(bench: Bench) -> None:
    """Whatever two processes believe: the second root for a size is refused by the table itself."""
    await bench.append(3)
    await until_done(bench.publisher())
    with pytest.raises(asyncpg.UniqueViolationError):
        await bench.writer.pool.execute("INSERT INTO checkpoint VALUES (3, $1, 'another')", bytes(32))
    for statement in ("UPDATE checkpoint SET root = root", "DELETE FROM checkpoint", "DELETE FROM tile_root"):
        with pytest.raises(asyncpg.PostgresError):
            await bench.writer.pool.execute(statement)


async def damage(bench: Bench, log: Log, statement: str, *arguments: Any) -> None:
    """Change the tables as their owner might."""
    async with log.superuser() as session:
        for table in ("entry", "checkpoint", "tile_root"):
            await session.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await session.execute(statement, *arguments)


async def refused(publisher: Publisher) -> str:
    with pytest.raises(Transient) as caught:
        await until_done(publisher)
    assert caught.value.code == "audit_log_damaged"
    return caught.value.message


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE entry SET data = '{}' WHERE index = 299", "entry 299 is not what was appended"),
        (
            "UPDATE entry SET data = '{}', leaf_hash = sha256('\\x007b7d') WHERE index = 290",
            "the entries do not give the root that was published for size 300",
        ),
        ("UPDATE tile_root SET root = sha256('')", "do not give the root that was published for size 300"),
        ("DELETE FROM tile_root", "roots of full tiles are missing at level 0"),
        ("UPDATE checkpoint SET root = sha256('')", "do not give the root that was published for size 300"),
    ],
)
async def test_a_changed_table_stops_the_next_start(bench: Bench, log: Log, statement: str, says: str) -> None:
    await bench.append(300)
    await until_done(bench.publisher())
    await damage(bench, log, statement)
    assert says in await refused(bench.publisher())


@pytest.mark.parametrize("key", ["tile/0/001.p/44", "tile/entries/001.p/44", "tile/1/000.p/1"])
async def test_a_changed_tile_stops_the_next_start(bench: Bench, key: str) -> None:
    await bench.append(300)
    await until_done(bench.publisher())
    await bench.blobs.put(BUCKET, key, b"forged")
    assert f"the stored {key} is not what the entries give" in await refused(bench.publisher())


async def test_a_missing_partial_tile_is_put_back(bench: Bench) -> None:
    await bench.append(300)
    await until_done(bench.publisher())
    await bench.blobs.delete_version(await bench.blobs.stat(BUCKET, "tile/0/001.p/44"))
    await until_done(bench.publisher())
    await bench.check(300)


async def test_a_log_set_back_to_an_older_state_is_not_published(bench: Bench, log: Log) -> None:
    await bench.append(20)
    await until_done(bench.publisher())
    await bench.append(5)
    await until_done(bench.publisher())
    await damage(bench, log, "DELETE FROM checkpoint WHERE size = 25")
    async with log.superuser() as session:
        await session.execute("ALTER TABLE tree_head DISABLE TRIGGER only_added_to")
        await session.execute("DELETE FROM entry WHERE index >= 20")
        await session.execute("DELETE FROM tree_head WHERE size > 20")
    assert "a checkpoint for size 25 was published that Postgres does not have" in await refused(bench.publisher())


async def test_a_checkpoint_of_others_is_replaced(bench: Bench) -> None:
    await bench.append(2)
    await until_done(bench.publisher())
    await bench.blobs.put(BUCKET, bucket_module.CHECKPOINT, b"somebody else's\n9\nAAAA\n\n\xe2\x80\x94 x AAAAAAA=\n")
    await until_done(bench.publisher())
    await bench.check(2)


async def key_requests(writer: Writer) -> list[AuditRequested]:
    rows = await writer.pool.fetch("SELECT payload FROM outbox WHERE type = 'muniment.audit-requested.v1' ORDER BY seq")
    return [AuditRequested.model_validate_json(row["payload"]) for row in rows]


def signatures(note: bytes) -> Sequence[bytes]:
    return note.decode().split("\n\n")[1].encode().splitlines()


async def test_a_new_key_signs_beside_the_old_one_and_then_alone(bench: Bench) -> None:
    await bench.append(1)
    await until_done(bench.publisher())
    (old,) = await bench.keyring().keys()
    made = await bench.keyring().rotate(
        timedelta(days=2), operator="muniment|alice", authenticated_by="token", cause=Cause(kind="request", id="r-9")
    )
    await bench.append(1)
    await until_done(bench.publisher())
    both = await bench.read("checkpoint")
    assert len(signatures(both)) == 2
    assert open_note(both, [old.key]) == open_note(both, [made.key])
    bench.writer.clock.move(3 * 24 * 3600)
    await bench.append(1)
    await until_done(bench.publisher())
    assert len(signatures(await bench.read("checkpoint"))) == 1
    assert open_note(await bench.read("checkpoint"), [made.key])
    first, second = await key_requests(bench.writer)
    assert (first.action, second.action) == ("audit.key-rotated", "audit.key-rotated")
    assert (first.operator, second.operator) == ("muniment|audit", "muniment|alice")
    assert [one["vkey"] for one in second.changes[0].after] == [old.key.vkey, made.key.vkey]  # type: ignore[index, union-attr]  # reason: JSON that this test knows
    assert second.resource == f"audit/keys/{made.key.key_id.hex()}"
    assert (bench.keys._path.stat().st_mode & 0o777, len(bench.keys.load())) == (0o600, 2)


async def test_without_its_key_the_log_grows_and_is_not_published(bench: Bench) -> None:
    await bench.append(1)
    await until_done(bench.publisher())
    bench.keys._path.unlink()
    await bench.append(1)
    with pytest.raises(Transient) as caught:
        await bench.publisher().publish()
    assert caught.value.code == "audit_key_missing"
    await bench.keyring().rotate(
        timedelta(), operator="muniment|alice", authenticated_by="token", cause=Cause(kind="request", id="r-9")
    )
    await until_done(bench.publisher())
    await bench.check(2)


async def test_keys_of_a_setting_are_made_by_whoever_sets_it(bench: Bench) -> None:
    seeds = [base64.b64encode(hashlib.sha256(bytes([n])).digest()).decode() for n in range(2)]
    await bench.append(1)
    await until_done(bench.publisher(keys=TextKeys(seeds[0], "X")))
    asking = {"operator": "muniment|a", "authenticated_by": "token", "cause": Cause(kind="request", id="r-1")}
    with pytest.raises(Conflict, match="whoever sets it"):
        await bench.keyring(keys=TextKeys(seeds[0], "X")).rotate(timedelta(days=1), **asking)  # type: ignore[arg-type]  # reason: the literals above
    await bench.keyring(keys=TextKeys(" ".join(seeds), "X")).rotate(timedelta(days=1), **asking)  # type: ignore[arg-type]  # reason: as above
    await bench.append(1)
    await until_done(bench.publisher(keys=TextKeys(" ".join(seeds), "X")))
    assert len(signatures(await bench.read("checkpoint"))) == 2


async def test_a_log_keeps_its_name(bench: Bench) -> None:
    assert await bench.keyring(origin="example.com/audit").origin() == "example.com/audit"
    assert await bench.keyring().origin() == "example.com/audit"
    with pytest.raises(Misconfigured, match="keeps its name"):
        await bench.keyring(origin="example.com/other").origin()
