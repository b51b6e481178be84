"""`audit verify` over a cluster's log: tiles, topic, Postgres and store against each other."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from muniment.adapters.kafka import KafkaPublisher, Outgoing
from muniment.adapters.postgres import connect
from muniment.audit.tiles import WIDTH, Tile
from muniment.contracts.topics import AUDIT_LOG
from muniment.ports.blobs import ObjectVersion
from muniment.server.endpoints import endpoints_of
from muniment.server.verifying.work import ALL, Places, keys_of, verify_layers
from muniment.verifier.checkpoint import Trust
from muniment.verifier.keys import parse_keys
from muniment.verifier.report import Report

from .cluster import Cluster
from .fleet import Fleet

PATIENCE_S = 60.0


async def log_agrees(fleet: Fleet) -> None:
    """Wait until every entry is under a checkpoint; then all layers agree. Fails with what the verifier says."""
    report = await verified(fleet.cluster)
    assert report.ok, fleet.why(str(report.as_json()), fleet.replica("audit"))


async def verified(cluster: Cluster) -> Report:
    """The verifier's report, once all is published."""
    async with _places(cluster) as places:
        ends = time.monotonic() + PATIENCE_S
        late = "SELECT (SELECT max(size) FROM tree_head) > (SELECT coalesce(max(size), 0) FROM checkpoint)"
        while await places.database.fetchval(late):
            assert time.monotonic() < ends, f"not published in {PATIENCE_S} s"
            await asyncio.sleep(0.1)
        keys = tuple(key for text in await keys_of(places.database) for key in parse_keys(text))
        return await verify_layers(places, Trust(keys, (), 0), ALL, lambda *_: None)


@asynccontextmanager
async def _places(cluster: Cluster) -> AsyncIterator[Places]:
    blobs = cluster.blobs()
    database = await connect(cluster.dsn, "audit")
    try:
        yield Places(
            blobs=blobs,
            tiles=cluster.log_bucket,
            models=cluster.bucket,
            kafka=endpoints_of(cluster.parts).kafka,
            topic=AUDIT_LOG.wire_name(cluster.prefix),
            database=database,
        )
    finally:
        await database.close()
        await blobs.aclose()


async def tampering_is_found(fleet: Fleet) -> None:
    """One byte in each store that holds the log, changed as whoever has its passwords would, and put back.

    The forged record stays on its topic, and comes last.
    """
    async with _places(fleet.cluster) as places:
        while (size := await places.database.fetchval("SELECT max(size) FROM checkpoint")) % WIDTH < 3:
            async with fleet.loading() as load:
                await load.taken(1)
            await fleet.caught_up()
            await verified(fleet.cluster)
        index = size - 2  # in the last bundle, which is not locked yet

        async def found(layer: str, at: int) -> None:
            report = await verified(fleet.cluster)
            assert (layer, at) in {(one.layer, one.index) for one in report.findings}, fleet.why(str(report.as_json()))

        await _flip_row(fleet.cluster, "entry", "data", index)
        await found("postgres", index)
        await _flip_row(fleet.cluster, "entry", "data", index)
        for level, layer in ((None, "entries"), (0, "tile/0")):
            tile = Tile(level, size // WIDTH, size % WIDTH)
            good = await places.blobs.read_whole(await _stat(places, tile.path), at_most=32 * 1024**2)
            assert good is not None
            place = len(good) - 40 if level == 0 else len(good) - 10
            await _replace(places, tile.path, good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            await found(layer, size - 2 if level == 0 else size - 1)
            await _replace(places, tile.path, good)
        assert (await verified(fleet.cluster)).ok
        if size >= WIDTH:  # a full tile is locked: what is put over it stands before it, and is found as that
            over = await places.blobs.put(places.tiles, Tile(None, 0).path, b"another")
            await found("entries", 0)
            await places.blobs.delete_version(over)
        (record,) = await places.database.fetch("SELECT data, leaf_hash, root_hash FROM entry WHERE index = 3")
        value = {
            "index": 3,
            "leaf_hash": record["leaf_hash"].hex(),
            "root_hash": record["root_hash"].hex(),
            "tree_size": 4,
            "entry": {**json.loads(record["data"]), "operator": "muniment|mallory"},
        }
        publisher = KafkaPublisher(places.kafka)
        try:
            await publisher.publish([Outgoing(places.topic, b"audit", json.dumps(value).encode(), [])])
        finally:
            await publisher.close()
        await found("topic", 3)


async def _flip_row(cluster: Cluster, table: str, column: str, index: int) -> None:
    """The database's owner may drop triggers. Done twice, the byte is right again."""
    session = await asyncpg.connect(cluster.dsn, server_settings={"search_path": "audit"})
    try:
        await session.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await session.execute(
            f"UPDATE {table} SET {column} = set_byte({column}, 20, get_byte({column}, 20) # 1) WHERE index = $1", index
        )
    finally:
        await session.close()


async def _stat(places: Places, key: str) -> ObjectVersion:
    return await places.blobs.stat(places.tiles, key)


async def _replace(places: Places, key: str, content: bytes) -> None:
    await places.blobs.delete_version(await _stat(places, key))
    await places.blobs.put(places.tiles, key, content)
