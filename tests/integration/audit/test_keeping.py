"""What keeps the published log over years: locks extended in time, checkpoints thinned out, and lateness told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from muniment.audit import publish_lag, tile_keeping
from muniment.audit.bucket import LogBucket
from muniment.audit.publish_lag import PublishLag
from muniment.audit.published import PublishedLog
from muniment.audit.thinning import Thinning
from muniment.audit.tile_keeping import TileKeeper
from muniment.contracts.errors import Misconfigured, Transient
from muniment.ports.blobs import Located, Lock
from muniment.runtime.metrics import Metrics

from .conftest import Log, SetClock
from .test_publishing import BUCKET, Bench, bench, until_done

__all__ = ["bench"]
HOUR = timedelta(hours=1)


def keeper(bench: Bench, metrics: Metrics | None = None) -> TileKeeper:
    """Tiles are locked for an hour, extended with 20 minutes left, and alarming with 10."""
    bucket = LogBucket(bench.blobs, bench.writer.clock, BUCKET, HOUR)
    return TileKeeper(bench.writer.pool, bucket, HOUR / 3, HOUR / 6, metrics)


async def whole_round(one: TileKeeper) -> None:
    while await one.step():
        pass


async def ends(bench: Bench) -> dict[str, datetime]:
    """When the lock of each locked object ends."""
    found = {}
    for item in (await bench.blobs.list_versions(BUCKET)).items:
        if (lock := await bench.blobs.retention(item)) is not None:
            found[item.key] = lock.until
    return found


async def test_locks_of_full_tiles_are_extended_before_they_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_keeping, "BATCH", 2)
    clock: SetClock = bench.writer.clock
    await bench.append(256 * 3)
    await until_done(bench.publisher())
    before = await ends(bench)
    assert len(before) == 6, "bundle and level 0 tile, three times"
    await whole_round(keeper(bench))
    assert await ends(bench) == before, "an hour is left"
    clock.move(2500)
    first = keeper(bench)
    assert await first.step(), "two bundles of three"
    now = clock.now()
    assert sum(end == now + HOUR for end in (await ends(bench)).values()) == 4
    await whole_round(keeper(bench))  # another process goes on where the first has stopped
    assert set((await ends(bench)).values()) == {now + HOUR}
    metrics = Metrics(CollectorRegistry())
    await keeper(bench, metrics).check()
    assert metrics.registry.get_sample_value("muniment_audit_lock_rest_seconds") == HOUR.total_seconds()


async def test_an_alarm_rings_while_a_store_takes_no_longer_locks_and_when_a_tile_is_gone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.append(256)
    await until_done(bench.publisher())
    await whole_round(keeper(bench))
    await keeper(bench).check()

    async def refuse(location: Located, lock: Lock) -> Lock:
        raise Misconfigured("lock_refused", "the store takes no such lock")

    with monkeypatch.context() as patched:
        patched.setattr(bench.blobs, "lock", refuse)
        bench.writer.clock.move(3100)
        await whole_round(keeper(bench))
    with pytest.raises(Transient, match="not locked for long") as caught:
        await keeper(bench).check()
    assert caught.value.code == "audit_locks_ending"
    bench.writer.clock.move(600)  # the locks have ended, and somebody has used that
    await bench.blobs.delete_version(await bench.blobs.stat(BUCKET, "tile/0/000"))
    await whole_round(keeper(bench))
    with pytest.raises(Transient, match="actual 0:00:00"):
        await keeper(bench).check()


async def test_checkpoints_are_thinned_out_and_the_newest_never_goes(bench: Bench, log: Log) -> None:
    now = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)
    pool = bench.writer.pool
    ages = [timedelta(minutes=10 * step) for step in range(6 * 24 * 4, -1, -1)]  # four days, one each 10 minutes
    await pool.executemany(
        "INSERT INTO checkpoint (size, root, note, published_at) VALUES ($1, $2, 'n', $3)",
        [(size, bytes(32), now - age) for size, age in enumerate(ages, 1)],
    )
    thinning = Thinning(pool, SetClock(now), kept=100, hourly_for=timedelta(days=2))
    gone = await thinning.thin()
    left = {row["published_at"]: row["size"] for row in await pool.fetch("SELECT size, published_at FROM checkpoint")}
    assert gone == len(ages) - len(left)
    assert set(range(len(ages) - 99, len(ages) + 1)) <= set(left.values()), "the newest hundred"
    older = sorted(at for at, size in left.items() if size <= len(ages) - 100)
    daily = [at for at in older if at < now - timedelta(days=2)]
    hourly = older[len(daily) :]
    assert [at.day for at in daily] == [13, 14, 15], "one a day"
    assert len({(at.day, at.hour) for at in hourly}) >= len(hourly) - 1, "one an hour, and the last before the newest"
    assert await thinning.thin() == 0
    with pytest.raises(asyncpg.RestrictViolationError):
        await pool.execute("DELETE FROM checkpoint WHERE size = (SELECT max(size) FROM checkpoint)")
    with pytest.raises(asyncpg.UniqueViolationError):  # one that went is not published a second time
        await pool.execute("INSERT INTO checkpoint (size, root, note) VALUES (2, $1, 'another')", bytes(32))


async def test_a_log_that_is_not_published_is_told_with_the_reason(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics(CollectorRegistry())
    publisher = bench.publisher()
    lag = PublishLag(bench.writer.pool, lambda: publisher.trouble, metrics)
    monkeypatch.setattr(publish_lag, "LATE_S", 0.0)
    await bench.append(1)
    await publisher._publish_all()
    await lag.check()
    bench.keys._path.unlink()
    await bench.append(1)
    with pytest.raises(Transient):
        await publisher._publish_all()
    with pytest.raises(Transient, match="audit_key_missing") as caught:
        await lag.check()
    assert caught.value.code == "audit_publish_late"
    value = metrics.registry.get_sample_value("muniment_audit_publish_lag_seconds")
    assert value is not None
    assert value > 0


async def test_a_missing_key_is_told_before_an_entry_waits_for_it(bench: Bench) -> None:
    await bench.append(1)
    await bench.publisher()._publish_all()
    bench.keys._path.unlink()
    publisher = bench.publisher()  # as after a restart, with nothing to publish
    lag = PublishLag(bench.writer.pool, lambda: publisher.trouble)
    await lag.check()
    with pytest.raises(Transient):
        await publisher._publish_all()
    with pytest.raises(Transient, match=r"audit_key_missing.*no entry waits yet"):
        await lag.check()


@pytest.mark.parametrize(
    ("table", "edit"),
    [
        (
            "tile_nodes",
            "UPDATE tile_nodes SET nodes = set_byte(nodes, 1440, 255 - get_byte(nodes, 1440)) WHERE index = 1",
        ),
        ("tile_root", "UPDATE tile_root SET root = sha256('') WHERE level = 0 AND index = 0"),
        ("entry", "UPDATE entry SET data = '{}' WHERE index = 300"),
    ],
)
async def test_a_proof_that_does_not_hold_is_not_handed_out(bench: Bench, log: Log, table: str, edit: str) -> None:
    await bench.append(600)
    await until_done(bench.publisher())
    published = PublishedLog(bench.writer.pool)
    await published.receipt(300)
    await published.consistency(301)
    async with log.superuser() as session:
        await session.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await session.execute(edit)
    with pytest.raises(Transient, match="entry 300 cannot be proven") as caught:
        await published.receipt(300)
    assert caught.value.code == "audit_log_damaged"
    if table != "entry":
        with pytest.raises(Transient, match="cannot be proven to begin"):
            await published.consistency(301)


async def test_nodes_that_were_not_kept_are_made_anew_by_proofs_and_by_the_migration(bench: Bench, log: Log) -> None:
    await bench.append(600)
    await until_done(bench.publisher())
    published = PublishedLog(bench.writer.pool)
    before = [await published.receipt(index) for index in (0, 300, 599)]
    async with log.superuser() as session:
        assert await session.fetchval("SELECT bool_and(nodes = nodes_of(substring(nodes FOR 8192))) FROM tile_nodes"), (
            "the migration fills the table as the publisher does"
        )
        await session.execute("ALTER TABLE tile_nodes DISABLE TRIGGER USER; DELETE FROM tile_nodes")
    assert [await published.receipt(index) for index in (0, 300, 599)] == before
