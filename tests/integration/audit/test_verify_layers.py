"""The Postgres layer after a superuser's edits: each is found, and the entry and the layer are named."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from muniment.adapters.memory.store import MemoryBlobStore
from muniment.adapters.postgres import connect
from muniment.adapters.signing_keys import FileKeys
from muniment.audit.bucket import LogBucket
from muniment.audit.keyring import Keyring
from muniment.audit.publisher import Publisher
from muniment.server.verifying.kept_nodes import verify_nodes
from muniment.server.verifying.mirrors import read_postgres
from muniment.verifier.checkpoint import parse_checkpoint
from muniment.verifier.layers import Layer, Layers, Row, judge
from muniment.verifier.report import Report
from tests.unit.verifier.naive import Signer, Tree, checkpoint, leaf

from .conftest import Log, Writer, incoming

SIZE = 12
EDITS = [
    ("data", "UPDATE entry SET data = set_byte(data, 20, 66) WHERE index = 5", 5),
    (
        "leaf hash",
        "UPDATE entry SET leaf_hash = set_byte(leaf_hash, 0, (get_byte(leaf_hash, 0) + 1) % 256) WHERE index = 4",
        4,
    ),
    ("root hash", "UPDATE entry SET root_hash = sha256('') WHERE index = 7", 7),
    (
        "data and leaf hash",
        "UPDATE entry SET data = '{}', leaf_hash = sha256('\\x00'::bytea || '{}') WHERE index = 6",
        6,
    ),
    ("a searched column", "UPDATE entry SET operator = 'muniment|mallory' WHERE index = 3", 3),
    ("a deleted row", "DELETE FROM entry WHERE index = 8", 8),
    ("the last rows", "DELETE FROM entry WHERE index >= 10", 10),
    (
        "two swapped",
        "UPDATE entry SET index = CASE index WHEN 2 THEN 1002 ELSE 1009 END WHERE index IN (2, 9);"
        "UPDATE entry SET index = CASE index WHEN 1002 THEN 9 ELSE 2 END WHERE index > 1000",
        2,
    ),
    ("a head", "UPDATE tree_head SET root = sha256('x') WHERE size = 12", 11),
]


async def verified(log: Log, good: list[bytes]) -> Report:
    tree = Tree([leaf(data) for data in good])
    head = parse_checkpoint(checkpoint(len(good), tree.root(0, len(good)), Signer()))
    report = Report("audit log")
    connection = await connect(log.dsn, "audit")
    try:
        with Layers() as layers:
            tiles: Layer = layers.layer("entries")
            assert all(tiles.take(Row(index, data)) for index, data in enumerate(good))
            postgres = layers.layer("postgres")
            await read_postgres(connection, postgres, lambda *_: None)
            judge(head, [tiles, postgres], report)
    finally:
        await connection.close()
    return report


@pytest.mark.parametrize(("name", "edit", "index"), EDITS, ids=[one[0] for one in EDITS])
async def test_a_superusers_edit_is_found(log: Log, writer: Writer, name: str, edit: str, index: int) -> None:
    await writer.append(*(incoming(f"e-{number}") for number in range(SIZE)))
    good: list[bytes] = [row["data"] for row in await writer.pool.fetch("SELECT data FROM entry ORDER BY index")]
    report = await verified(log, good)
    assert report.ok, report.as_json()
    async with log.superuser() as session:
        await session.execute("ALTER TABLE entry DISABLE TRIGGER ALL; ALTER TABLE tree_head DISABLE TRIGGER ALL")
        await session.execute(edit)
    found: Any = (await verified(log, good)).first
    assert (found.layer, found.index) == ("postgres", index), found


async def test_a_kept_node_that_was_changed_is_named(log: Log, writer: Writer, tmp_path: Path) -> None:
    blobs = MemoryBlobStore(writer.clock)
    await blobs.ensure_bucket("audit", object_lock=True)
    keyring = Keyring(writer.transactions, FileKeys(tmp_path / "audit.key"), "example.com/audit")
    bucket = LogBucket(blobs, writer.clock, "audit", timedelta(hours=1))
    await writer.append(*(incoming(f"e-{number}") for number in range(600)))
    await Publisher(writer.pool, bucket, keyring, writer.clock).publish()
    async with log.superuser() as session:
        assert await verify_nodes(session, lambda *_: None) == (2, None)
        await session.execute("ALTER TABLE tile_nodes DISABLE TRIGGER ALL; ALTER TABLE tile_root DISABLE TRIGGER ALL")
        flip = "UPDATE tile_nodes SET nodes = set_byte(nodes, $1, (get_byte(nodes, $1) + 1) % 256) WHERE index = 1"
        await session.execute(flip, 32 * 300)  # of the row above the leaves' hashes
        count, found = await verify_nodes(session, lambda *_: None)
        assert found is not None
        assert (count, found.layer, found.index, found.code) == (1, "tile_nodes", 256, "nodes_differ")
        await session.execute(flip.replace("+ 1", "+ 255"), 32 * 300)
        await session.execute("UPDATE tile_root SET root = sha256('') WHERE index = 0")
        _, found = await verify_nodes(session, lambda *_: None)
        assert found is not None
        assert (found.index, found.code) == (0, "root_differs")
